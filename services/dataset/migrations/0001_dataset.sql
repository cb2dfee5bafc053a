-- What was asked for, who imports it right now, and what came of it.

CREATE TABLE dataset.dataset (
    tenant            text NOT NULL,
    dataset_id        text NOT NULL,
    file_id           text NOT NULL,
    uri               text NOT NULL,
    sha256            text NOT NULL,
    validation_uri    text NOT NULL,
    validation_sha256 text NOT NULL,
    base_model        text NOT NULL,
    format            text NOT NULL,
    max_length        int NOT NULL,
    split             jsonb NOT NULL,
    asked_at          timestamptz NOT NULL,
    state             text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'importing', 'ready', 'refused')),
    fence             bigint NOT NULL DEFAULT 0,
    lease_until       timestamptz NOT NULL DEFAULT now(),
    crashes           int NOT NULL DEFAULT 0,
    digest            text,
    outcome           jsonb,
    settled_at        timestamptz,
    source_deleted_at timestamptz,
    PRIMARY KEY (tenant, dataset_id),
    CHECK ((state IN ('ready', 'refused')) = (outcome IS NOT NULL)),
    CHECK ((state = 'ready') = (digest IS NOT NULL))
);

COMMENT ON COLUMN dataset.dataset.fence IS 'Grows by one whenever an import takes the row; writes name the one they were given.';
COMMENT ON COLUMN dataset.dataset.crashes IS 'Import processes that died without an outcome.';

CREATE INDEX dataset_open ON dataset.dataset (asked_at) WHERE state IN ('asked', 'importing');
CREATE INDEX dataset_file ON dataset.dataset (tenant, file_id);

SELECT public.protect('dataset.dataset');
