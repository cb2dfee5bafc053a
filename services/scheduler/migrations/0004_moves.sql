-- A run that recovers moves to another device: fence is of the newest lease heard of, device_id where it is.
ALTER TABLE scheduler.job ADD COLUMN fence bigint NOT NULL DEFAULT 0;
