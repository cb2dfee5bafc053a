-- Checkpoints of a model that somebody deleted go with it, the newest too.

ALTER TABLE trainer.checkpoint ADD COLUMN unwanted boolean NOT NULL DEFAULT false;
