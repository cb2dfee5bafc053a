-- A lease is held by one process of its runner: who only bears the name cannot speak for it.

ALTER TABLE trainer.lease ADD COLUMN session text NOT NULL DEFAULT '';
COMMENT ON COLUMN trainer.lease.session IS 'The process of the runner that the device belonged to when it was granted';
