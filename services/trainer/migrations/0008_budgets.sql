-- The most a run may cost, all its attempts together, in the currency of the installation; 0: nobody set one.

ALTER TABLE trainer.run ADD COLUMN budget double precision NOT NULL DEFAULT 0;
