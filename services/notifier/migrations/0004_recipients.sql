-- Whom notices are for and how they want them; one record for each recipient, and what was told elsewhere instead.

CREATE TABLE notifier.recipient (
    recipient_id text PRIMARY KEY,
    tenant       text NOT NULL,
    version      bigint NOT NULL,
    removed      boolean NOT NULL,
    wishes       jsonb NOT NULL
);
SELECT public.protect('notifier.recipient');

ALTER TABLE notifier.notice
    ADD COLUMN recipient  text NOT NULL DEFAULT '',
    ADD COLUMN digest     boolean NOT NULL DEFAULT false,
    ADD COLUMN instead_of text NOT NULL DEFAULT '',
    DROP CONSTRAINT notice_state_check,
    ADD CONSTRAINT notice_state_check CHECK (state IN ('waiting', 'delivered', 'failed', 'unwanted')),
    DROP CONSTRAINT notice_tenant_job_id_channel_about_key,
    ADD CONSTRAINT notice_once UNIQUE (tenant, job_id, channel, recipient, about);
CREATE INDEX notice_digest ON notifier.notice (tenant, channel, recipient, due_at) WHERE state = 'waiting' AND digest;
