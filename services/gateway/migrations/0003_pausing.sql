-- Jobs can be paused, and say what interruptions cost.
ALTER TABLE gateway.job
    DROP CONSTRAINT job_status_check,
    ADD CONSTRAINT job_status_check CHECK (
        status IN ('validating_files', 'queued', 'running', 'pausing', 'paused', 'succeeded', 'failed', 'cancelled')),
    ADD COLUMN lost_steps bigint NOT NULL DEFAULT 0,
    ADD COLUMN lost_seconds double precision NOT NULL DEFAULT 0;
