-- Where a job's run stands in Weights & Biases, as its person wished; null: nowhere.

ALTER TABLE gateway.job ADD COLUMN wandb jsonb;

-- An organisation's own key there, sealed by libs/sealing.py with a key that is not in the database.

CREATE TABLE gateway.wandb_key (
    tenant text PRIMARY KEY REFERENCES gateway.tenant,
    sealed text NOT NULL CHECK (sealed LIKE 'sealed:%')
);
SELECT public.protect('gateway.wandb_key');
