-- Endpoints as people wish them, what is owed to each, and every call that was made.

CREATE TABLE notifier.webhook (
    webhook_id     text PRIMARY KEY,
    tenant         text NOT NULL,
    version        bigint NOT NULL,
    url            text NOT NULL,
    events         text[] NOT NULL,
    secret_number  int NOT NULL,
    previous_until timestamptz,
    hex_signature  boolean NOT NULL,
    enabled        boolean NOT NULL,
    busy_until     timestamptz NOT NULL DEFAULT '-infinity',
    succeeded_at   timestamptz
);
SELECT public.protect('notifier.webhook');

-- ``takes`` counts how often a delivery was taken up and is the fence of the call under way; ``tries`` counts since it
-- was owed or replayed (``queued_at``), and is what the schedule goes by.
CREATE TABLE notifier.delivery (
    delivery_id text PRIMARY KEY,
    tenant      text NOT NULL,
    webhook_id  text NOT NULL REFERENCES notifier.webhook,
    event_id    text NOT NULL,
    event_type  text NOT NULL,
    job_id      text NOT NULL,
    body        text NOT NULL,
    state       text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    takes       bigint NOT NULL DEFAULT 0,
    tries       int NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    queued_at   timestamptz NOT NULL DEFAULT now(),
    due_at      timestamptz NOT NULL DEFAULT now(),
    settled_at  timestamptz,
    UNIQUE (webhook_id, event_id)
);
CREATE INDEX delivery_due ON notifier.delivery (due_at) WHERE state = 'waiting';
SELECT public.protect('notifier.delivery');

CREATE TABLE notifier.attempt (
    delivery_id  text NOT NULL REFERENCES notifier.delivery,
    take         bigint NOT NULL,
    tenant       text NOT NULL,
    at           timestamptz NOT NULL,
    status_code  int NOT NULL,
    milliseconds int NOT NULL,
    said         text NOT NULL,
    PRIMARY KEY (delivery_id, take)
);
SELECT public.protect('notifier.attempt');
