-- One row for each message that was sent in a transaction and has not been relayed yet.
CREATE TABLE waybill_outbox (
    seq           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order of Send; commits may come in another
    version       smallint    NOT NULL, -- from here on, the envelope
    message_id    text        NOT NULL,
    route         text        NOT NULL,
    ordering_key  text        NOT NULL, -- empty: none
    scheduled_for text        NOT NULL, -- RFC 3339; empty: at once
    attributes    text        NOT NULL, -- JSON
    body          bytea       NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    due_at        timestamptz NOT NULL DEFAULT now(), -- when a relay may take it: at once, when its lease ends, after a failure's pause
    held          boolean     NOT NULL DEFAULT false, -- it waits for an earlier row of its key, which will let it go
    lease         text,                         -- the batch that has it or had it last
    attempts      integer     NOT NULL DEFAULT 0, -- that failed
    rejections    integer     NOT NULL DEFAULT 0, -- the attempts among them that failed for a reason of the message's own
    last_error    text,
    parked_at     timestamptz                   -- given up until somebody looks at it
) WITH (fillfactor = 70); -- room for the lease on the same page, where no index need know of it

-- Those that may have their turn, in the order of their sending.
CREATE INDEX waybill_outbox_turn ON waybill_outbox (seq) WHERE NOT held AND parked_at IS NULL;

-- Each key's, in the order of their sending.
CREATE INDEX waybill_outbox_key ON waybill_outbox (route, ordering_key, seq) WHERE ordering_key <> '';
