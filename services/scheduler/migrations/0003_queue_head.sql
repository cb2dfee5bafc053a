-- The head of the queue is read in its order, as many rows as there are devices on offer: not the whole queue.

ALTER TABLE scheduler.job
    ADD COLUMN rank smallint GENERATED ALWAYS AS (CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END) STORED;
DROP INDEX scheduler.job_waits_for_device;
CREATE INDEX job_waits_for_device ON scheduler.job (rank, submitted_at, job_id) INCLUDE (memory_bytes)
    WHERE state = 'queued';
