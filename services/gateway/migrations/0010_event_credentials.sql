-- Credentials with which an organisation's own programs subscribe to its facts on NATS.

CREATE TABLE gateway.event_credential (
    credential_id text PRIMARY KEY,
    tenant        text NOT NULL REFERENCES gateway.tenant,
    member_id     text NOT NULL REFERENCES gateway.member,
    name          text NOT NULL,
    digest        bytea NOT NULL,
    made_by       text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    connected_at  timestamptz,
    revoked_at    timestamptz
);
CREATE INDEX event_credential_of_member ON gateway.event_credential (member_id);
SELECT public.protect('gateway.event_credential');
