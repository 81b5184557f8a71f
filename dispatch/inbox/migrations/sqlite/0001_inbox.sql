-- One row for each message that a handler has run for.
CREATE TABLE waybill_inbox (
    route      TEXT    NOT NULL, -- the task or subscription that received it
    message_id TEXT    NOT NULL,
    done_at    INTEGER NOT NULL, -- milliseconds since 1970
    PRIMARY KEY (route, message_id)
) WITHOUT ROWID;

-- For the clean-up.
CREATE INDEX waybill_inbox_done_at ON waybill_inbox (done_at);
