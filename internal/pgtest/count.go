package pgtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"
)

// Recorder notes the statements that a database gets, BEGIN, COMMIT and ROLLBACK included.
type Recorder struct {
	mu         sync.Mutex
	statements []string
}

// Take returns what came since the last Take.
func (r *Recorder) Take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.statements
	r.statements = nil
	return slices.Clip(taken)
}

func (r *Recorder) add(statement string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statements = append(r.statements, statement)
}

// RecordedDB is [Server.DB] with a driver that records.
func (s *Server) RecordedDB(t testing.TB) (*sql.DB, *Recorder) {
	t.Helper()
	recorder := &Recorder{}
	connector, err := stdlib.GetDefaultDriver().(driver.DriverContext).OpenConnector(s.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(recordingConnector{connector, recorder})
	t.Cleanup(func() { db.Close() })
	return db, recorder
}

type recordingConnector struct {
	driver.Connector
	recorder *Recorder
}

func (c recordingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return recordingConn{conn.(*stdlib.Conn), c.recorder}, nil
}

// recordingConn is pgx's connection, whose ways to run something all lead through the recorder.
type recordingConn struct {
	*stdlib.Conn
	recorder *Recorder
}

func (c recordingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.recorder.add(query)
	return c.Conn.ExecContext(ctx, query, args)
}

func (c recordingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.recorder.add(query)
	return c.Conn.QueryContext(ctx, query, args)
}

func (c recordingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.recorder.add("PREPARE " + query)
	return c.Conn.PrepareContext(ctx, query)
}

func (c recordingConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	c.recorder.add("BEGIN")
	tx, err := c.Conn.BeginTx(ctx, options)
	return recordingTx{tx, c.recorder}, err
}

type recordingTx struct {
	driver.Tx
	recorder *Recorder
}

func (t recordingTx) Commit() error {
	t.recorder.add("COMMIT")
	return t.Tx.Commit()
}

func (t recordingTx) Rollback() error {
	t.recorder.add("ROLLBACK")
	return t.Tx.Rollback()
}
