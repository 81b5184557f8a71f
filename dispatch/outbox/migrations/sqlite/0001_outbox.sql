-- One row for each message that was sent in a transaction and has not been relayed yet. Times are milliseconds since 1970.
CREATE TABLE waybill_outbox (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of Send
    version       INTEGER NOT NULL, -- from here on, the envelope
    message_id    TEXT    NOT NULL,
    route         TEXT    NOT NULL,
    ordering_key  TEXT    NOT NULL, -- empty: none
    scheduled_for TEXT    NOT NULL, -- RFC 3339; empty: at once
    attributes    TEXT    NOT NULL, -- JSON
    body          BLOB    NOT NULL,
    created_at    INTEGER NOT NULL,
    due_at        INTEGER NOT NULL, -- when a relay may take it: at once, when its lease ends, after a failure's pause
    held          INTEGER NOT NULL DEFAULT 0, -- it waits for an earlier row of its key, which will let it go
    lease         TEXT,                       -- the batch that has it or had it last
    attempts      INTEGER NOT NULL DEFAULT 0, -- that failed
    rejections    INTEGER NOT NULL DEFAULT 0, -- the attempts among them that failed for a reason of the message's own
    last_error    TEXT,
    parked_at     INTEGER                     -- given up until somebody looks at it
);

-- Those that may have their turn, in the order of their sending.
CREATE INDEX waybill_outbox_turn ON waybill_outbox (seq) WHERE NOT held AND parked_at IS NULL;

-- Each key's, in the order of their sending.
CREATE INDEX waybill_outbox_key ON waybill_outbox (route, ordering_key, seq) WHERE ordering_key <> '';
