-- Slack addresses are kept sealed, with a key that is not in the database. Those that lie open are sealed by the gateway
-- when it starts; from now on none can be written open.
ALTER TABLE gateway.recipient
    ADD CONSTRAINT slack_address_is_sealed CHECK (slack_address = '' OR slack_address LIKE 'sealed:%') NOT VALID;
COMMENT ON COLUMN gateway.recipient.slack_address IS 'Sealed by libs/sealing.py; empty: none';
