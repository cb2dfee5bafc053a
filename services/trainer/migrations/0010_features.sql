-- A recipe may need what older runners do not understand: only a device that does carries it out.

ALTER TABLE trainer.device ADD COLUMN features text[] NOT NULL DEFAULT '{}';
ALTER TABLE trainer.run ADD COLUMN needs text[] NOT NULL DEFAULT '{}';
UPDATE trainer.run SET needs = '{dpo}' WHERE recipe->>'objective' = 'dpo';
