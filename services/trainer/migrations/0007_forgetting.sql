-- A dispatch that was called off and never came is forgotten in time.

ALTER TABLE trainer.called_off ADD COLUMN at timestamptz NOT NULL DEFAULT now();
