-- A Slack webhook of somebody's own. Whoever has it can post there: it is in no fact and shown to nobody.
ALTER TABLE gateway.recipient ADD COLUMN slack_address text NOT NULL DEFAULT '';
