-- Jobs, what is known of their datasets, the devices on offer, and what finished runs taught.

-- news is the DatasetReady or DatasetRefused fact; null while a job waits for it.
CREATE TABLE scheduler.dataset (
    tenant     text NOT NULL,
    dataset_id text NOT NULL,
    news       jsonb,
    PRIMARY KEY (tenant, dataset_id)
);
SELECT public.protect('scheduler.dataset');

-- wish is the JobSubmitted fact; it is null only for a job that was cancelled before its wish arrived.
-- asked is the complete recipe before a time limit shortens it for a device; recipe is what was dispatched.
CREATE TABLE scheduler.job (
    tenant        text NOT NULL,
    job_id        text NOT NULL,
    state         text NOT NULL CHECK (
        state IN ('validating_files', 'queued', 'dispatched', 'running', 'succeeded', 'failed', 'cancelled')
    ),
    wish          jsonb CHECK (wish IS NOT NULL OR state = 'cancelled'),
    dataset_id    text,
    priority      text,
    submitted_at  timestamptz,
    asked         jsonb,
    memory_bytes  bigint NOT NULL DEFAULT 0,
    run_id        text UNIQUE,
    recipe        jsonb,
    device        jsonb,
    changed_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, job_id)
);
CREATE INDEX job_waits_for_dataset ON scheduler.job (tenant, dataset_id) WHERE state = 'validating_files';
CREATE INDEX job_waits_for_device ON scheduler.job (submitted_at) WHERE state = 'queued';
SELECT public.protect('scheduler.job');

-- One row a device with its newest offer (the DeviceOffered fact), so an older one that comes late changes nothing.
-- offer is null only where a withdrawal came before its offer. Devices and what they taught belong to the
-- platform, not to a tenant.
CREATE TABLE scheduler.device (
    device_id text PRIMARY KEY,
    offer_id  text NOT NULL,
    version   bigint NOT NULL,
    state     text NOT NULL CHECK (state IN ('open', 'taken', 'withdrawn')),
    offer     jsonb CHECK (offer IS NOT NULL OR state = 'withdrawn'),
    at        timestamptz NOT NULL
);

CREATE TABLE scheduler.calibration (
    base_model   text NOT NULL,
    kind         text NOT NULL,
    precision  text NOT NULL,
    runs         int NOT NULL,
    log_ratio    double precision NOT NULL,
    spread       double precision NOT NULL,
    start_up     double precision NOT NULL,
    memory_ratio double precision NOT NULL,
    PRIMARY KEY (base_model, kind, precision)
);
