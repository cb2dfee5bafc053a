-- Whether the chat engine says what training left: null until compared, then same or differs. What finished before
-- anybody compared stays as it is.

ALTER TABLE evaluator.evaluation ADD COLUMN served text DEFAULT 'before' CHECK (served IN ('before', 'same', 'differs'));
ALTER TABLE evaluator.evaluation ALTER COLUMN served DROP DEFAULT;
