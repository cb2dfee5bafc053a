-- Devices and their offers, runs, leases with fences, checkpoints.

CREATE SEQUENCE trainer.fence;
COMMENT ON SEQUENCE trainer.fence IS 'Every grant of a lease takes the next number';

CREATE TABLE trainer.device (
    device_id    text PRIMARY KEY,
    runner       text NOT NULL,
    kind         text NOT NULL,
    precision    text NOT NULL,
    threads      int NOT NULL,
    memory_bytes bigint NOT NULL,
    flops        double precision NOT NULL,
    torch_device text NOT NULL,
    online       boolean NOT NULL DEFAULT true,
    offer_id     text
);
COMMENT ON COLUMN trainer.device.offer_id IS 'The offer that stands; null when none does';

CREATE TABLE trainer.run (
    run_id            text PRIMARY KEY,
    tenant            text NOT NULL,
    job_id            text NOT NULL UNIQUE,
    state             text NOT NULL,
    recipe            jsonb NOT NULL,
    dataset_id        text NOT NULL,
    dataset_digest    text NOT NULL,
    dataset_uri       text NOT NULL,
    checkpoint_every  int NOT NULL,
    micro_tokens      int NOT NULL DEFAULT 0,
    attempt           int NOT NULL DEFAULT 0,
    interruptions     int NOT NULL DEFAULT 0,
    losses            jsonb NOT NULL DEFAULT '{}',
    barren            int NOT NULL DEFAULT 0,
    step              int NOT NULL DEFAULT 0,
    interrupted_at    timestamptz,
    told_started      boolean NOT NULL DEFAULT false,
    stop_asked        boolean NOT NULL DEFAULT false,
    created_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX run_live ON trainer.run (state) WHERE state NOT IN ('succeeded', 'failed', 'cancelled');
SELECT public.protect('trainer.run');

CREATE TABLE trainer.lease (
    fence      bigint PRIMARY KEY,
    tenant     text NOT NULL,
    run_id     text NOT NULL REFERENCES trainer.run,
    device_id  text NOT NULL REFERENCES trainer.device,
    runner     text NOT NULL,
    attempt    int NOT NULL,
    launched   boolean NOT NULL DEFAULT false,
    granted_at timestamptz NOT NULL,
    ended_at   timestamptz,
    ended_how  text
);
CREATE UNIQUE INDEX lease_one_holder ON trainer.lease (device_id) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX lease_one_device ON trainer.lease (run_id) WHERE ended_at IS NULL;
SELECT public.protect('trainer.lease');

CREATE TABLE trainer.checkpoint (
    uri          text PRIMARY KEY,
    tenant       text NOT NULL,
    run_id       text NOT NULL REFERENCES trainer.run,
    fence        bigint NOT NULL,
    step         int NOT NULL,
    size         bigint NOT NULL,
    sha256       text NOT NULL,
    quarantined  text,
    committed_at timestamptz NOT NULL
);
CREATE INDEX checkpoint_run ON trainer.checkpoint (run_id, step DESC);
SELECT public.protect('trainer.checkpoint');
