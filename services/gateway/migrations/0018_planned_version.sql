-- Which fact of the job its recipe and estimate are from, so that an older one that comes late changes nothing.
ALTER TABLE gateway.job ADD COLUMN planned_version bigint NOT NULL DEFAULT 0;
