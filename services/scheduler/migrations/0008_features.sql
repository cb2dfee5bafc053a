-- A recipe may need what older runners do not understand: only a device that does gets the job.

ALTER TABLE scheduler.device ADD COLUMN features text[] NOT NULL DEFAULT '{}';
ALTER TABLE scheduler.job ADD COLUMN needs text[] NOT NULL DEFAULT '{}';
UPDATE scheduler.job SET needs = '{dpo}' WHERE asked->>'objective' = 'dpo';
