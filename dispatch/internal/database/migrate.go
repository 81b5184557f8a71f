package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// Schema is one component's tables, and the way to them.
type Schema struct {
	DB        *sql.DB
	Dialect   Dialect
	Prefix    string
	Component string // "inbox" or "outbox"
	Files     fs.FS  // migrations/DIALECT/0001_NAME.sql and so on; each statement ends with a semicolon at the end of its line
}

// Migrate brings the tables to the newest version, in one transaction: all of it, or nothing. Where they are newer already, made
// by a newer build, it does nothing. Of several processes that migrate at once one does the work and the others wait for it.
func (s Schema) Migrate(ctx context.Context) error {
	migrations, err := s.migrations()
	if err != nil {
		return err
	}
	if s.Dialect == SQLite {
		return retryLocked(ctx, func() error { return s.migrateSQLite(ctx, migrations) })
	}
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	// Held to the transaction's end. CREATE TABLE IF NOT EXISTS alone is not safe when two sessions do it at once.
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended(coalesce(current_schema(), '') || $1::text, 0))`, "."+s.Prefix+"migrations"); err != nil {
		return err
	}
	if err := s.apply(ctx, tx, migrations); err != nil {
		return err
	}
	return tx.Commit()
}

// migrateSQLite takes the write lock first: a transaction that has read before it writes fails at once when another writes.
// database/sql has no word for BEGIN IMMEDIATE, so this one runs on a connection of its own.
func (s Schema) migrateSQLite(ctx context.Context, migrations []migration) (err error) {
	conn, err := s.DB.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	defer func() {
		if err != nil { // also when ctx has ended: the connection goes back to its pool
			_, rollback := conn.ExecContext(context.WithoutCancel(ctx), `ROLLBACK`)
			err = errors.Join(err, rollback)
		}
	}()
	if err := s.apply(ctx, conn, migrations); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, `COMMIT`)
	return err
}

// querier is a *sql.Tx or a *sql.Conn.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s Schema) apply(ctx context.Context, db querier, migrations []migration) error {
	if _, err := db.ExecContext(ctx, Named(`CREATE TABLE IF NOT EXISTS waybill_migrations (
		component text NOT NULL, version integer NOT NULL, PRIMARY KEY (component, version))`, s.Prefix)); err != nil {
		return err
	}
	var current int
	if err := db.QueryRowContext(ctx, Named(`SELECT coalesce(max(version), 0) FROM waybill_migrations WHERE component = $1`, s.Prefix), s.Component).Scan(&current); err != nil {
		return err
	}
	for _, m := range migrations {
		if m.version <= current {
			continue
		}
		for _, statement := range m.statements {
			if _, err := db.ExecContext(ctx, Named(statement, s.Prefix)); err != nil {
				return fmt.Errorf("%s: %w", m.file, err)
			}
		}
		if _, err := db.ExecContext(ctx, Named(`INSERT INTO waybill_migrations (component, version) VALUES ($1, $2)`, s.Prefix), s.Component, m.version); err != nil {
			return err
		}
	}
	return nil
}

type migration struct {
	file       string
	version    int
	statements []string
}

// migrations reads the dialect's files, which fs.Glob returns in order.
func (s Schema) migrations() ([]migration, error) {
	files, err := fs.Glob(s.Files, "migrations/"+s.Dialect.String()+"/*.sql")
	if err != nil {
		return nil, err
	}
	list := make([]migration, 0, len(files))
	for _, file := range files {
		text, err := fs.ReadFile(s.Files, file)
		if err != nil {
			return nil, err
		}
		number, _, _ := strings.Cut(path.Base(file), "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("%s has no number: %w", file, err)
		}
		list = append(list, migration{file: file, version: version, statements: statements(string(text))})
	}
	return list, nil
}

// statements splits a file: not every driver takes several statements at once.
func statements(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ";\n") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// retryLocked repeats f while another connection holds SQLite's write lock longer than the driver waits, for up to 10 s:
// the default of most drivers is not to wait at all.
func retryLocked(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := f()
		if err == nil || !Locked(err) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// Locked reports whether an error is SQLite's, that another connection writes. Drivers have types of their own for it, and the
// library's text in common.
func Locked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "database is locked")
}
