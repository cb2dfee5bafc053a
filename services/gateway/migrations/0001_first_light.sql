-- Who may come in, what they brought and wished, and the read models of everybody's facts.

CREATE TABLE gateway.tenant (
    tenant     text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);
SELECT public.protect('gateway.tenant');

CREATE TABLE gateway.api_key (
    prefix     text PRIMARY KEY,
    tenant     text NOT NULL REFERENCES gateway.tenant,
    name       text NOT NULL,
    role       text NOT NULL,
    digest     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
SELECT public.protect('gateway.api_key');

CREATE TABLE gateway.file (
    file_id     text PRIMARY KEY,
    tenant      text NOT NULL REFERENCES gateway.tenant,
    purpose     text NOT NULL,
    filename    text NOT NULL,
    size        bigint NOT NULL,
    sha256      text NOT NULL,
    uri         text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    deleting_at timestamptz,
    deleted_at  timestamptz
);
CREATE INDEX file_of_tenant ON gateway.file (tenant, file_id) WHERE deleting_at IS NULL;
CREATE INDEX file_deleting ON gateway.file (deleting_at) WHERE deleting_at IS NOT NULL AND deleted_at IS NULL;
SELECT public.protect('gateway.file');

CREATE TABLE gateway.dataset (
    dataset_id      text PRIMARY KEY,
    tenant          text NOT NULL REFERENCES gateway.tenant,
    file_id         text NOT NULL REFERENCES gateway.file,
    validation_file text REFERENCES gateway.file,
    filename        text NOT NULL,
    base_model      text NOT NULL,
    format          text NOT NULL,
    split           jsonb NOT NULL,
    state           text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'importing', 'ready', 'refused')),
    figures         jsonb,
    problems        jsonb NOT NULL DEFAULT '[]',
    problem_count   bigint NOT NULL DEFAULT 0,
    refusal         jsonb,
    progress        jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz
);
CREATE INDEX dataset_of_tenant ON gateway.dataset (tenant, created_at, dataset_id);
SELECT public.protect('gateway.dataset');

CREATE TABLE gateway.job (
    job_id           text PRIMARY KEY,
    tenant           text NOT NULL REFERENCES gateway.tenant,
    model            text NOT NULL,
    training_file    text NOT NULL,
    validation_file  text,
    dataset_id       text NOT NULL REFERENCES gateway.dataset,
    preset           text NOT NULL,
    priority         text NOT NULL,
    suffix           text NOT NULL,
    seed             bigint NOT NULL,
    asked            jsonb NOT NULL,
    metadata         jsonb NOT NULL,
    status           text NOT NULL DEFAULT 'validating_files' CHECK (
        status IN ('validating_files', 'queued', 'running', 'succeeded', 'failed', 'cancelled')),
    run_id           text,
    run_stage        text,
    run_stage_of     text,
    proof_stage      text,
    recipe           jsonb,
    estimate         jsonb,
    progress         jsonb,
    progress_at      timestamptz,
    fine_tuned_model text,
    trained_tokens   bigint,
    seconds          double precision,
    cost             double precision,
    interruptions    int NOT NULL DEFAULT 0,
    error            jsonb,
    adapter_uri      text,
    adapter_sha256   text,
    collected_at     timestamptz,
    result_file      text REFERENCES gateway.file,
    headline         text,
    verdict          text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    dispatched_at    timestamptz,
    finished_at      timestamptz
);
CREATE INDEX job_of_tenant ON gateway.job (tenant, job_id);
CREATE INDEX job_of_dataset ON gateway.job (dataset_id);
CREATE INDEX job_uncollected ON gateway.job (job_id) WHERE adapter_uri IS NOT NULL AND collected_at IS NULL;
CREATE INDEX job_of_model ON gateway.job (tenant, fine_tuned_model) WHERE fine_tuned_model IS NOT NULL;
SELECT public.protect('gateway.job');

CREATE TABLE gateway.job_event (
    event_id text PRIMARY KEY,
    tenant   text NOT NULL,
    job_id   text NOT NULL REFERENCES gateway.job,
    at       timestamptz NOT NULL,
    level    text NOT NULL CHECK (level IN ('info', 'warn', 'error')),
    message  text NOT NULL
);
CREATE INDEX event_of_job ON gateway.job_event (job_id, event_id);
SELECT public.protect('gateway.job_event');

CREATE TABLE gateway.checkpoint (
    checkpoint_id text PRIMARY KEY,
    tenant        text NOT NULL,
    job_id        text NOT NULL REFERENCES gateway.job,
    at            timestamptz NOT NULL,
    step          bigint NOT NULL,
    fence         bigint NOT NULL,
    loss          double precision,
    eval_loss     double precision
);
CREATE INDEX checkpoint_of_job ON gateway.checkpoint (job_id, checkpoint_id);
SELECT public.protect('gateway.checkpoint');

CREATE TABLE gateway.metric (
    job_id                    text NOT NULL REFERENCES gateway.job,
    step                      bigint NOT NULL,
    tenant                    text NOT NULL,
    attempt                   int NOT NULL,
    at                        timestamptz NOT NULL,
    epoch                     double precision NOT NULL,
    train_loss                double precision NOT NULL,
    learning_rate             double precision NOT NULL,
    grad_norm                 double precision NOT NULL,
    tokens                    bigint NOT NULL,
    tokens_per_second         double precision NOT NULL,
    memory_bytes              bigint NOT NULL,
    train_mean_token_accuracy double precision,
    valid_loss                double precision,
    PRIMARY KEY (job_id, step)
);
SELECT public.protect('gateway.metric');

CREATE TABLE gateway.artifact (
    job_id text NOT NULL REFERENCES gateway.job,
    name   text NOT NULL,
    tenant text NOT NULL,
    size   bigint NOT NULL,
    sha256 text NOT NULL,
    uri    text NOT NULL,
    PRIMARY KEY (job_id, name)
);
SELECT public.protect('gateway.artifact');

CREATE TABLE gateway.report (
    job_id        text NOT NULL REFERENCES gateway.job,
    format        text NOT NULL CHECK (format IN ('pdf', 'html', 'json')),
    tenant        text NOT NULL,
    evaluation_id text NOT NULL,
    uri           text NOT NULL,
    sha256        text NOT NULL,
    PRIMARY KEY (job_id, format)
);
SELECT public.protect('gateway.report');

CREATE TABLE gateway.idempotency (
    tenant      text NOT NULL,
    key         text NOT NULL,
    fingerprint text NOT NULL,
    answer      bytea,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_age ON gateway.idempotency (created_at);
SELECT public.protect('gateway.idempotency');

CREATE TABLE gateway.newest (
    aggregate text NOT NULL,
    teller    text NOT NULL,
    tenant    text NOT NULL,
    version   bigint NOT NULL,
    PRIMARY KEY (aggregate, teller)
);
SELECT public.protect('gateway.newest');

-- How far this service has read TELEMETRY: one row, written with the figures it stands for.
CREATE TABLE gateway.telemetry_read (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    sequence bigint NOT NULL
);
