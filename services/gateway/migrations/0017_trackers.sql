-- Where a job's run stands in Weights & Biases, as its person wished; null: nowhere.

ALTER TABLE gateway.job ADD COLUMN wandb jsonb;
