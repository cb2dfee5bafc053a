-- A job that failed is submitted again with its fix: what was changed of the preset, whose retry a job is, and the
-- evidence of every attempt that was lost.

ALTER TABLE gateway.job
    ADD COLUMN overrides jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN retry_of  text REFERENCES gateway.job;
CREATE INDEX job_retried ON gateway.job (retry_of, job_id) WHERE retry_of IS NOT NULL;

CREATE TABLE gateway.evidence (
    evidence_id text PRIMARY KEY,
    tenant      text NOT NULL,
    job_id      text NOT NULL REFERENCES gateway.job,
    at          timestamptz NOT NULL,
    what        text NOT NULL,
    evidence    text NOT NULL
);
CREATE INDEX evidence_of_job ON gateway.evidence (job_id, evidence_id);
SELECT public.protect('gateway.evidence');
