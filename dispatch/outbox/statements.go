package outbox

import (
	"strings"

	"waybill.dev/dispatch/internal/database"
)

// statements are what an outbox says to its database. Times are the database's own, so that relays need not agree on the time.
// Lists cross as JSON, since drivers have nothing else in common for them.
type statements struct {
	keep    string // version, message_id, route, ordering_key, scheduled_for, attributes, body
	lock    string // taken before what follows, until the transaction's end; empty where there is one writer at a time anyway
	waiting string // whether anything is due
	lease   string // lease, its length in milliseconds, how many rows at most
	sent    string // the rows' seq as JSON, lease
	failed  string // the rows as JSON, lease
	promote string // keys as JSON, how many rows of each at most
	sweep   string
	stats   string
	parked  string // after which seq, how many
	retry   string // the messages' IDs as JSON
	discard string // likewise
}

// lease looks at the first rows that are due and takes those whose turn it is. A row is ready if it is due, not parked and not held. A row with a key
// has to wait if an earlier row of its key is not ready: another relay has it, it pauses after a failure, it is parked, or it waits itself. Such a
// row is held until the row that it waits for is marked and promotes it. So every statement looks at as many rows as it may take and no more,
// however many wait behind one.
//
// Which row of a key blocks it is asked once for each key, with its last row that was looked at. What is taken of a key are its first rows, since rows are looked at in their order. That no other relay takes rows of the key at the same moment
// is what the lock is for.
const leaseWindow = `
	WITH looked AS MATERIALIZED (
		SELECT seq, route, ordering_key FROM waybill_outbox WHERE NOT held AND parked_at IS NULL AND due_at <= NOW ORDER BY seq LIMIT $3
	), ranked AS (
		SELECT l.*, row_number() OVER (PARTITION BY route, ordering_key ORDER BY seq DESC) AS from_last FROM looked l
	), blocked AS (
		SELECT r.seq, r.route, r.ordering_key, CASE WHEN r.from_last = 1 AND r.ordering_key <> '' THEN (
			SELECT e.seq FROM waybill_outbox e
			WHERE e.route = r.route AND e.ordering_key = r.ordering_key AND e.ordering_key <> '' AND e.seq < r.seq
			AND (e.held OR e.due_at > NOW OR e.parked_at IS NOT NULL)
			ORDER BY e.route, e.ordering_key, e.seq LIMIT 1) END AS since
		FROM ranked r
	), turns AS MATERIALIZED (
		SELECT seq, coalesce(seq > max(since) OVER (PARTITION BY route, ordering_key), false) AS waits FROM blocked
	)`

// promote lets the next rows of a key have their turn, and sweep those that wait for nothing, which only a change by hand can bring about.
const (
	promote = `UPDATE waybill_outbox SET held = false WHERE held AND seq IN (
		SELECT h.seq FROM (KEYS) k JOIN waybill_outbox h ON h.route = k.route AND h.ordering_key = k.ordering_key
		WHERE h.ordering_key <> '' AND h.seq <= (SELECT max(n.seq) FROM (
			SELECT seq FROM waybill_outbox
			WHERE route = k.route AND ordering_key = k.ordering_key AND ordering_key <> '' AND held
			ORDER BY route, ordering_key, seq LIMIT $2) n))`
	sweep = `UPDATE waybill_outbox SET held = false WHERE held AND NOT EXISTS (
		SELECT 1 FROM waybill_outbox e WHERE e.route = waybill_outbox.route AND e.ordering_key = waybill_outbox.ordering_key
		AND e.ordering_key <> '' AND e.seq < waybill_outbox.seq)`
)

const envelopeColumns = `version, message_id, route, ordering_key, scheduled_for, attributes, body`

// leaseColumns leave out the content of rows that are held.
const leaseColumns = `held, waybill_outbox.seq, attempts, rejections, version, message_id, waybill_outbox.route,
	waybill_outbox.ordering_key, scheduled_for, attributes, CASE WHEN NOT held THEN body END`

func statementsFor(dialect Dialect, prefix string) statements {
	var s statements
	var words *strings.Replacer
	switch dialect {
	case database.PostgreSQL:
		s = postgresql()
		words = strings.NewReplacer("NOW", "statement_timestamp()", "KEYS", "SELECT * FROM json_to_recordset($1::json) AS k(route text, ordering_key text)", database.DefaultPrefix, prefix)
	default:
		s = sqlite()
		words = strings.NewReplacer("NOW", database.SQLiteNow, "KEYS", "SELECT value->>'route' AS route, value->>'ordering_key' AS ordering_key FROM json_each($1)", database.DefaultPrefix, prefix)
	}
	s.promote, s.sweep = promote, sweep
	for _, statement := range []*string{&s.keep, &s.lock, &s.waiting, &s.lease, &s.sent, &s.failed, &s.promote, &s.sweep, &s.stats, &s.parked, &s.retry, &s.discard} {
		*statement = words.Replace(*statement)
	}
	return s
}

func postgresql() statements {
	return statements{
		keep: `INSERT INTO waybill_outbox (` + envelopeColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		// A process that is frozen here, as Cloud Run freezes those that serve no request, must not hold up all others. And the planner
		// must not read a whole table, or all of a key, that was empty when it last looked: the indexes are made for these statements. The costs that
		// it sees in what is left must not have it compile them.
		lock: `SELECT set_config('idle_in_transaction_session_timeout', '5s', true),
			set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
			set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true),
			pg_advisory_xact_lock(hashtextextended(coalesce(current_schema(), '') || '.waybill_outbox', 0))`,
		waiting: `SELECT EXISTS (SELECT 1 FROM waybill_outbox WHERE NOT held AND parked_at IS NULL AND due_at <= NOW)`,
		lease: leaseWindow + `
			UPDATE waybill_outbox SET held = t.waits, lease = CASE WHEN NOT t.waits THEN $1 END,
				due_at = CASE WHEN t.waits THEN due_at ELSE NOW + $2::bigint * interval '1 millisecond' END
			FROM turns t WHERE waybill_outbox.seq = t.seq
			RETURNING ` + leaseColumns,
		sent: `DELETE FROM waybill_outbox WHERE seq IN (SELECT value::bigint FROM json_array_elements_text($1::json)) AND lease = $2`,
		failed: `UPDATE waybill_outbox o SET lease = NULL, held = f.hold, due_at = NOW + f.pause * interval '1 millisecond', attempts = f.attempts, rejections = f.rejections,
			last_error = coalesce(f.error, o.last_error), parked_at = CASE WHEN f.park THEN NOW END
			FROM json_to_recordset($1::json) AS f(seq bigint, pause bigint, attempts int, rejections int, error text, park boolean, hold boolean)
			WHERE o.seq = f.seq AND o.lease = $2`,
		stats: `SELECT count(*) FILTER (WHERE parked_at IS NULL), count(*) FILTER (WHERE parked_at IS NULL AND attempts > 0), count(*) FILTER (WHERE parked_at IS NOT NULL),
			coalesce(extract(epoch FROM NOW - min(created_at) FILTER (WHERE parked_at IS NULL)) * 1000, 0)::bigint FROM waybill_outbox`,
		parked: `SELECT seq, attempts, coalesce(last_error, ''), (extract(epoch FROM created_at) * 1000)::bigint, ` + envelopeColumns + `
			FROM waybill_outbox WHERE parked_at IS NOT NULL AND seq > $1 ORDER BY seq LIMIT $2`,
		retry: `UPDATE waybill_outbox SET parked_at = NULL, lease = NULL, due_at = NOW, rejections = 0
			WHERE parked_at IS NOT NULL AND message_id IN (SELECT value FROM json_array_elements_text($1::json))`,
		discard: `DELETE FROM waybill_outbox WHERE parked_at IS NOT NULL AND message_id IN (SELECT value FROM json_array_elements_text($1::json)) RETURNING route, ordering_key`,
	}
}

func sqlite() statements {
	return statements{
		keep:    `INSERT INTO waybill_outbox (` + envelopeColumns + `, created_at, due_at) VALUES ($1, $2, $3, $4, $5, $6, $7, NOW, NOW)`,
		waiting: `SELECT EXISTS (SELECT 1 FROM waybill_outbox WHERE NOT held AND parked_at IS NULL AND due_at <= NOW)`,
		lease: leaseWindow + `
			UPDATE waybill_outbox SET held = t.waits, lease = CASE WHEN NOT t.waits THEN $1 END, due_at = CASE WHEN t.waits THEN due_at ELSE NOW + $2 END
			FROM turns t WHERE waybill_outbox.seq = t.seq
			RETURNING ` + leaseColumns,
		sent: `DELETE FROM waybill_outbox WHERE seq IN (SELECT value FROM json_each($1)) AND lease = $2`,
		failed: `UPDATE waybill_outbox SET lease = NULL, held = f.hold, due_at = NOW + f.pause, attempts = f.attempts, rejections = f.rejections,
			last_error = coalesce(f.error, last_error), parked_at = CASE WHEN f.park THEN NOW END
			FROM (SELECT value->>'seq' AS id, value->>'pause' AS pause, value->>'attempts' AS attempts, value->>'rejections' AS rejections,
				value->>'error' AS error, value->>'park' AS park, value->>'hold' AS hold FROM json_each($1)) AS f
			WHERE seq = f.id AND lease = $2`,
		stats: `SELECT count(*) FILTER (WHERE parked_at IS NULL), count(*) FILTER (WHERE parked_at IS NULL AND attempts > 0), count(*) FILTER (WHERE parked_at IS NOT NULL),
			coalesce(NOW - min(created_at) FILTER (WHERE parked_at IS NULL), 0) FROM waybill_outbox`,
		parked: `SELECT seq, attempts, coalesce(last_error, ''), created_at, ` + envelopeColumns + `
			FROM waybill_outbox WHERE parked_at IS NOT NULL AND seq > $1 ORDER BY seq LIMIT $2`,
		retry: `UPDATE waybill_outbox SET parked_at = NULL, lease = NULL, due_at = NOW, rejections = 0
			WHERE parked_at IS NOT NULL AND message_id IN (SELECT value FROM json_each($1))`,
		discard: `DELETE FROM waybill_outbox WHERE parked_at IS NOT NULL AND message_id IN (SELECT value FROM json_each($1)) RETURNING route, ordering_key`,
	}
}
