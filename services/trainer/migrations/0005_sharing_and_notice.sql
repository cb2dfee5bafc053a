-- Leases that share a device by memory, runners that gave notice, and runs that wait before they try again.

ALTER TABLE trainer.device
    ADD COLUMN shared boolean NOT NULL DEFAULT false,
    ADD COLUMN leaving boolean NOT NULL DEFAULT false,
    ADD COLUMN offered_bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN session text NOT NULL DEFAULT '';
COMMENT ON COLUMN trainer.device.shared IS 'Several leases may hold it at once, as long as their memory fits';
COMMENT ON COLUMN trainer.device.leaving IS 'Its runner said that the machine is being taken away';
COMMENT ON COLUMN trainer.device.session IS 'The process of the runner that said hello';
COMMENT ON COLUMN trainer.device.offered_bytes IS 'The memory that the standing offer promises';

ALTER TABLE trainer.run
    ADD COLUMN memory_bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN steps int NOT NULL DEFAULT 0,
    ADD COLUMN not_before timestamptz;
COMMENT ON COLUMN trainer.run.memory_bytes IS 'What it needs of a device';
COMMENT ON COLUMN trainer.run.steps IS 'Optimiser steps of the whole run; 0 where a run is older than this column';
COMMENT ON COLUMN trainer.run.not_before IS 'A recovering run waits until then';

ALTER TABLE trainer.lease
    ADD COLUMN memory_bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN shared boolean NOT NULL DEFAULT false;

DROP INDEX trainer.lease_one_holder;
CREATE UNIQUE INDEX lease_one_holder ON trainer.lease (device_id) WHERE ended_at IS NULL AND NOT shared;
CREATE INDEX lease_held ON trainer.lease (device_id) WHERE ended_at IS NULL;
CREATE INDEX lease_run ON trainer.lease (run_id);
