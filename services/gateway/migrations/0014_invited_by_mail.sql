-- An invitation that is mailed is computed again from invite_seed when the notifier writes; the secret itself lies nowhere.
ALTER TABLE gateway.member
    ADD COLUMN invite_seed   text,
    ADD COLUMN invite_number bigint NOT NULL DEFAULT 0,
    ADD COLUMN invite_mail   text;
COMMENT ON COLUMN gateway.member.invite_number IS 'The version of the fact that had it mailed';
COMMENT ON COLUMN gateway.member.invite_mail IS 'What became of the mail: waiting, delivered, or why not';
