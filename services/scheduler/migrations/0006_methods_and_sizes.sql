-- Training every weight takes other time and memory than training a LoRA: each method learns from its own runs.
-- What was learned so far came from LoRAs, but for a few runs.
ALTER TABLE scheduler.calibration
    ADD COLUMN method text NOT NULL DEFAULT 'lora',
    DROP CONSTRAINT calibration_pkey,
    ADD PRIMARY KEY (base_model, method, kind, precision);
ALTER TABLE scheduler.calibration ALTER COLUMN method DROP DEFAULT;

-- most_bytes is the most memory that was ever on offer of a device: what is left of a shared one may be less.
ALTER TABLE scheduler.device ADD COLUMN most_bytes bigint NOT NULL DEFAULT 0;
UPDATE scheduler.device SET most_bytes = (offer->>'memory_bytes')::bigint WHERE offer IS NOT NULL;
