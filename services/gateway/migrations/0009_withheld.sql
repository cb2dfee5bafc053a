-- A model that the chat engine does not serve as it was trained is not offered: why, and what to do.

ALTER TABLE gateway.job ADD COLUMN withheld jsonb;
