// Package database is what the inbox and the outbox share: the dialects that they write, the names of their tables, and their migrations.
package database

import (
	"fmt"
	"strings"
)

// Dialect is the SQL that a database understands. The zero Dialect is none.
type Dialect int

// The dialects.
const (
	PostgreSQL Dialect = iota + 1
	SQLite
)

// String is the dialect's name, which is that of its folder of migrations.
func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "postgresql"
	case SQLite:
		return "sqlite"
	default:
		return fmt.Sprintf("dialect %d", int(d))
	}
}

// DefaultPrefix begins the tables' names in the files of migrations, and in the database unless the configuration says otherwise.
const DefaultPrefix = "waybill_"

// maxPrefix leaves room for the longest name of an index: PostgreSQL cuts names at 63 bytes.
const maxPrefix = 30

// Check reports what is wrong with a dialect and a prefix, with the fields of a Config named dialects' package.
func Check(dialect Dialect, prefix, pkg string) []error {
	var problems []error
	if dialect != PostgreSQL && dialect != SQLite {
		problems = append(problems, fmt.Errorf("Dialect is not set: use %s.PostgreSQL or %[1]s.SQLite", pkg))
	}
	if len(prefix) > maxPrefix || strings.Trim(prefix, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || prefix[0] >= '0' && prefix[0] <= '9' {
		problems = append(problems, fmt.Errorf("Prefix is %q: use at most %d lower-case letters, digits and underscores, a letter first, such as %q", prefix, maxPrefix, DefaultPrefix))
	}
	return problems
}

// Named puts a prefix in the place of the default one, everywhere in an SQL text.
func Named(sql, prefix string) string { return strings.ReplaceAll(sql, DefaultPrefix, prefix) }

// SQLiteNow is SQLite's clock, in milliseconds since 1970.
const SQLiteNow = `CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)`
