-- Jobs that wait for a person, and jobs that make way for a more urgent one.

-- wish is null too for a job that somebody wanted paused or resumed before its submission arrived.
-- wish_version numbers the newest wish to pause or resume; an older one that comes late changes nothing.
-- offer_id and device_id are of the last dispatch; begun, whether the trainer has the run.
ALTER TABLE scheduler.job
    DROP CONSTRAINT job_state_check,
    DROP CONSTRAINT job_check,
    ADD CONSTRAINT job_state_check CHECK (
        state IN ('unknown', 'validating_files', 'queued', 'dispatched', 'running', 'pausing', 'yielding', 'paused',
                  'succeeded', 'failed', 'cancelled')
    ),
    ADD CONSTRAINT job_wish_check CHECK (
        wish IS NOT NULL OR state IN ('unknown', 'validating_files', 'paused', 'cancelled')
    ),
    ADD COLUMN wish_version bigint NOT NULL DEFAULT 0,
    ADD COLUMN offer_id text,
    ADD COLUMN device_id text,
    ADD COLUMN begun boolean NOT NULL DEFAULT false,
    ADD COLUMN dispatched_at timestamptz;
CREATE INDEX job_on_device ON scheduler.job (priority) WHERE state IN ('dispatched', 'running');
CREATE INDEX job_letting_go ON scheduler.job (state) WHERE state IN ('pausing', 'yielding');
CREATE INDEX job_urgent ON scheduler.job (priority, submitted_at) WHERE state = 'queued';

-- coming: whoever held it has let it go, and its next offer is on the way.
ALTER TABLE scheduler.device
    DROP CONSTRAINT device_state_check,
    ADD CONSTRAINT device_state_check CHECK (state IN ('open', 'taken', 'coming', 'withdrawn'));
