-- One row for each message that a handler has run for.
CREATE TABLE waybill_inbox (
    route      text        NOT NULL, -- the task or subscription that received it
    message_id text        NOT NULL,
    done_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (route, message_id)
);

-- For the clean-up.
CREATE INDEX waybill_inbox_done_at ON waybill_inbox (done_at);
