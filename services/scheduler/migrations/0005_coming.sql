-- A device may be shared: part of it is on its way back while the rest is on offer or taken.
-- coming_bytes were let go at coming_at and are not offered yet.
ALTER TABLE scheduler.device ADD COLUMN coming_at timestamptz, ADD COLUMN coming_bytes bigint;
UPDATE scheduler.device SET state = 'taken' WHERE state = 'coming';
ALTER TABLE scheduler.device
    DROP CONSTRAINT device_state_check,
    ADD CONSTRAINT device_state_check CHECK (state IN ('open', 'taken', 'withdrawn'));
DROP INDEX scheduler.job_letting_go;
CREATE INDEX job_of_device ON scheduler.job (device_id)
    WHERE state IN ('dispatched', 'running', 'pausing', 'yielding');
