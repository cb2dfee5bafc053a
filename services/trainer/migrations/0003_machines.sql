-- Machines that providers lend, and the jobs that wait for one.

CREATE TABLE trainer.installation (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    owner text NOT NULL DEFAULT substr(replace(gen_random_uuid()::text, '-', ''), 1, 8)
);
COMMENT ON COLUMN trainer.installation.owner IS 'The mark by which this installation knows its machines at a provider';

CREATE TABLE trainer.machine (
    key       text PRIMARY KEY,
    pool      text NOT NULL,
    provider  text NOT NULL,
    kind      text NOT NULL,
    devices   int NOT NULL,
    price     double precision NOT NULL,
    handle    text,
    state     text NOT NULL DEFAULT 'asked',
    wanted    boolean NOT NULL DEFAULT true,
    doubts    int NOT NULL DEFAULT 0,
    tries     int NOT NULL DEFAULT 0,
    ask_at    timestamptz NOT NULL,
    asked_at  timestamptz NOT NULL,
    heard_at  timestamptz,
    busy_at   timestamptz NOT NULL,
    ended_at  timestamptz,
    ended_how text
);
COMMENT ON COLUMN trainer.machine.key IS 'Also the name of its runner; written before the provider is asked';
COMMENT ON COLUMN trainer.machine.price IS 'Of one hour of the whole machine';
CREATE INDEX machine_kept ON trainer.machine (asked_at) WHERE ended_at IS NULL;

CREATE TABLE trainer.waiting (
    job_id  text PRIMARY KEY,
    tenant  text NOT NULL,
    version int NOT NULL,
    waits   boolean NOT NULL,
    since   timestamptz NOT NULL
);
COMMENT ON COLUMN trainer.waiting.version IS 'Of the job''s latest fact; an older one changes nothing';
SELECT public.protect('trainer.waiting');
