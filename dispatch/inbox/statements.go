package inbox

import "waybill.dev/dispatch/internal/database"

// statements are what an inbox says to its database. The database's own clock counts, so that processes need not agree on the time.
type statements struct {
	remember string // route, message_id
	forget   string // age in milliseconds, how many rows at most
}

func statementsFor(dialect Dialect, prefix string) statements {
	s := statements{
		remember: `INSERT INTO waybill_inbox (route, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
		// Two that clean at once share the work: neither waits for the other's rows.
		forget: `DELETE FROM waybill_inbox WHERE (route, message_id) IN (
			SELECT route, message_id FROM waybill_inbox WHERE done_at < now() - $1::bigint * interval '1 millisecond'
			ORDER BY done_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
	}
	if dialect == SQLite {
		s = statements{
			remember: `INSERT INTO waybill_inbox (route, message_id, done_at) VALUES ($1, $2, ` + database.SQLiteNow + `) ON CONFLICT DO NOTHING`,
			forget: `DELETE FROM waybill_inbox WHERE (route, message_id) IN (
				SELECT route, message_id FROM waybill_inbox WHERE done_at < ` + database.SQLiteNow + ` - $1
				ORDER BY done_at LIMIT $2)`,
		}
	}
	s.remember, s.forget = database.Named(s.remember, prefix), database.Named(s.forget, prefix)
	return s
}
