-- One delivery record for each job, channel and thing to tell: waiting, delivered, or failed with the reason.

CREATE TABLE notifier.notice (
    notice_id   text PRIMARY KEY,
    tenant      text NOT NULL,
    job_id      text NOT NULL,
    channel     text NOT NULL,
    about       text NOT NULL CHECK (about IN ('finished', 'failed', 'cancelled', 'report')),
    fact        jsonb NOT NULL,
    state       text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    tries       int NOT NULL DEFAULT 0,
    due_at      timestamptz NOT NULL,
    reason      text NOT NULL DEFAULT '',
    said        text NOT NULL DEFAULT '',
    settled_at  timestamptz,
    UNIQUE (tenant, job_id, channel, about)
);
CREATE INDEX notice_due ON notifier.notice (channel, due_at) WHERE state = 'waiting';
SELECT public.protect('notifier.notice');
