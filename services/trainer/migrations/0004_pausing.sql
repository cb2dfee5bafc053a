-- Runs that let their device go and come back.

ALTER TABLE trainer.run
    ADD COLUMN offer_id text,
    ADD COLUMN stop_why text,
    ADD COLUMN pauses int NOT NULL DEFAULT 0,
    ADD COLUMN lost_steps bigint NOT NULL DEFAULT 0,
    ADD COLUMN lost_seconds double precision NOT NULL DEFAULT 0;
COMMENT ON COLUMN trainer.run.offer_id IS 'The dispatch it lives by; an order to stop names one';
COMMENT ON COLUMN trainer.run.stop_why IS 'Why it let its device go last: pause or preempt';

-- Dispatches that were ended before they arrived: they are declined when they do.
CREATE TABLE trainer.called_off (
    offer_id text PRIMARY KEY,
    tenant   text NOT NULL,
    job_id   text NOT NULL
);
SELECT public.protect('trainer.called_off');
