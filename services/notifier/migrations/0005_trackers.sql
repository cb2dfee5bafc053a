-- Jobs whose figures a tracker shall show: how far it was told, and how it goes. ``takes`` is the fence of a turn.

CREATE TABLE notifier.tracked (
    job_id        text PRIMARY KEY,
    tenant        text NOT NULL,
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'finished', 'lost')),
    step          bigint NOT NULL DEFAULT -1,
    lines         bigint NOT NULL DEFAULT 0,
    takes         bigint NOT NULL DEFAULT 0,
    tries         int NOT NULL DEFAULT 0,
    failing_since timestamptz,
    remarked      text[] NOT NULL DEFAULT '{}',
    submitted_at  timestamptz NOT NULL,
    due_at        timestamptz NOT NULL DEFAULT now(),
    settled_at    timestamptz
);
CREATE INDEX tracked_due ON notifier.tracked (due_at) WHERE state = 'open';
SELECT public.protect('notifier.tracked');
