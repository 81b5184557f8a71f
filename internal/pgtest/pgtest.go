// Package pgtest runs a PostgreSQL server for tests: the installed programs, as an ordinary user, in a directory and on a Unix socket of its own.
//
//	var postgres pgtest.Server
//
//	func TestMain(m *testing.M) {
//		code := m.Run()
//		postgres.Stop()
//		os.Exit(code)
//	}
//
//	func TestSomething(t *testing.T) {
//		db := postgres.DB(t)
//		...
//
// The server starts with the first DB and is shared by the test binary. Where PostgreSQL is not installed the test is skipped, or fails
// under WAYBILL_REQUIRE=all. It runs with fsync off: it survives its clients, and not the machine; speeds measured on it are those of a
// server whose disk costs nothing.
package pgtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"waybill.dev/internal/testenv"
)

// Server is one PostgreSQL server. The zero Server starts when it is first needed.
type Server struct {
	mu      sync.Mutex
	err     error
	tried   bool
	dir     string
	process *exec.Cmd
	life    io.Closer // the server stops when this closes, also when the test binary dies
	log     bytes.Buffer
	schemas int
}

// DB returns a database with an empty schema of its own, which is closed when the test ends.
func (s *Server) DB(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", s.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	return db
}

// DSN returns what a pgx driver opens to reach an empty schema of its own, on a server that is running when it returns.
func (s *Server) DSN(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("postgres"); err != nil {
		testenv.Missing(t, "PostgreSQL is not installed: postgres is not on the PATH")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tried {
		s.tried = true
		s.err = s.start()
	}
	if s.err != nil {
		t.Fatalf("PostgreSQL does not start: %v", s.err)
	}
	admin, err := sql.Open("pgx", s.dsn("public"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	s.schemas++
	schema := "test" + strconv.Itoa(s.schemas)
	if _, err := admin.ExecContext(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	return s.dsn(schema)
}

func (s *Server) dsn(schema string) string {
	return fmt.Sprintf("host=%s user=postgres dbname=postgres search_path=%s", s.dir, schema)
}

// Stop ends the server and removes its files. It may be called twice, and on a server that never started.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		_ = s.life.Close()      // tells the shell
		_ = s.process.Wait()    // it ends with the server's status
		_ = os.RemoveAll(s.dir) // of the system's temporary files
	}
	s.process = nil
}

// serve runs the server as long as its standard input is open, so that it never outlives the test binary, however that ends.
const serve = `postgres -D "$1/data" -k "$1" -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
	-c max_connections=120 -c shared_buffers=64MB -c max_wal_size=512MB -c log_min_messages=warning -c log_min_error_statement=panic <&- &
read -r _
kill -INT $! && wait $!`

func (s *Server) start() (err error) {
	if s.dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		return err
	}
	user, err := ordinaryUser(s.dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	initdb := exec.CommandContext(ctx, "initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D", filepath.Join(s.dir, "data"))
	initdb.SysProcAttr, initdb.Dir = user, s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	shell := exec.CommandContext(context.Background(), "sh", "-c", serve, "sh", s.dir)
	shell.SysProcAttr, shell.Dir = user, s.dir
	shell.Stdout, shell.Stderr = &s.log, &s.log
	if s.life, err = shell.StdinPipe(); err != nil {
		return err
	}
	if err := shell.Start(); err != nil {
		return err
	}
	s.process = shell
	return s.await(ctx)
}

// await returns once the server answers.
func (s *Server) await(ctx context.Context) error {
	db, err := sql.Open("pgx", s.dsn("public"))
	if err != nil {
		return err
	}
	defer db.Close()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ordinaryUser is who the server runs as, which must not be root: nobody, if the tests are root's. dir becomes that user's.
func ordinaryUser(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}, nil
}
