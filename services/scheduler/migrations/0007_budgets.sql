-- What organisations may spend in a month, and what their jobs cost.

-- Amounts are millionths of the currency. monthly 0: as much as it likes.
CREATE TABLE scheduler.budget (
    tenant  text PRIMARY KEY,
    version bigint NOT NULL,
    monthly bigint NOT NULL,
    zone    text NOT NULL
);
SELECT public.protect('scheduler.budget');

-- A cost is booked in the month in which the run told it.
CREATE TABLE scheduler.spending (
    tenant text NOT NULL,
    month  text NOT NULL,
    amount bigint NOT NULL,
    told   int NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, month)
);
SELECT public.protect('scheduler.spending');
COMMENT ON COLUMN scheduler.spending.told IS 'the highest threshold of the budget that somebody was told of';

-- held counts as long as the job has a device: what its run may still cost. charged is what of it is booked.
ALTER TABLE scheduler.job ADD COLUMN held bigint NOT NULL DEFAULT 0, ADD COLUMN charged bigint NOT NULL DEFAULT 0;
