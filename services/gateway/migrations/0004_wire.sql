-- OpenAI's wire in full: files that expire, uploads in parts, permissions of checkpoints, models that are deleted.
ALTER TABLE gateway.file ADD COLUMN expires_at timestamptz;
CREATE INDEX file_expiring ON gateway.file (expires_at) WHERE expires_at IS NOT NULL AND deleting_at IS NULL;

CREATE TABLE gateway.upload (
    upload_id  text PRIMARY KEY,
    tenant     text NOT NULL REFERENCES gateway.tenant,
    filename   text NOT NULL,
    purpose    text NOT NULL,
    size       bigint NOT NULL,
    lifetime   bigint,
    status     text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed', 'cancelled', 'expired')),
    file_id    text REFERENCES gateway.file,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    swept_at   timestamptz
);
CREATE INDEX upload_unswept ON gateway.upload (expires_at) WHERE swept_at IS NULL;
SELECT public.protect('gateway.upload');

CREATE TABLE gateway.upload_part (
    part_id    text PRIMARY KEY,
    tenant     text NOT NULL,
    upload_id  text NOT NULL REFERENCES gateway.upload,
    uri        text NOT NULL,
    size       bigint NOT NULL,
    sha256     text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX part_of_upload ON gateway.upload_part (upload_id);
SELECT public.protect('gateway.upload_part');

CREATE TABLE gateway.checkpoint_permission (
    permission_id text PRIMARY KEY,
    tenant        text NOT NULL,
    checkpoint_id text NOT NULL REFERENCES gateway.checkpoint,
    project_id    text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (checkpoint_id, project_id)
);
SELECT public.protect('gateway.checkpoint_permission');

ALTER TABLE gateway.job
    ADD COLUMN model_deleting_at timestamptz,
    ADD COLUMN model_deleted_at  timestamptz;
CREATE INDEX job_deleting ON gateway.job (model_deleting_at) WHERE model_deleting_at IS NOT NULL AND model_deleted_at IS NULL;
