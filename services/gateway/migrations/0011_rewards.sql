-- A step that learned from pairs says how far, and in what share of them, the preferred reply gained on the other one.
ALTER TABLE gateway.metric
    ADD COLUMN reward_margin double precision,
    ADD COLUMN reward_accuracy double precision;
