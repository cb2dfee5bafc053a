-- How many of the held-out data's taught tokens a step's model guesses right.

ALTER TABLE gateway.metric ADD COLUMN valid_mean_token_accuracy double precision;
