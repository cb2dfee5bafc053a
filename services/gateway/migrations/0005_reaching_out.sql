-- Endpoints as people wish them. What is sent there is the notifier's; the signing secrets are computed and lie nowhere.

CREATE TABLE gateway.webhook (
    webhook_id      text PRIMARY KEY,
    tenant          text NOT NULL REFERENCES gateway.tenant,
    name            text NOT NULL,
    url             text NOT NULL,
    events          text[] NOT NULL,
    hex_signature   boolean NOT NULL,
    secret_number   int NOT NULL DEFAULT 1,
    previous_until  timestamptz,
    enabled         boolean NOT NULL DEFAULT true,
    disabled_reason text NOT NULL DEFAULT '',
    told_version    bigint NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    removed_at      timestamptz
);
CREATE INDEX webhook_of_tenant ON gateway.webhook (tenant, webhook_id) WHERE removed_at IS NULL;
SELECT public.protect('gateway.webhook');

-- Links that download one object without an API key, until they expire or are revoked.

CREATE TABLE gateway.link (
    link_id    text PRIMARY KEY,
    tenant     text NOT NULL REFERENCES gateway.tenant,
    kind       text NOT NULL CHECK (kind IN ('file', 'artifact', 'report')),
    owner      text NOT NULL,
    part       text NOT NULL,
    sha256     text NOT NULL,
    expires_at timestamptz NOT NULL,
    made_by    text NOT NULL,
    downloads  bigint NOT NULL DEFAULT 0,
    used_at    timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX link_of_tenant ON gateway.link (tenant, link_id);
SELECT public.protect('gateway.link');

-- Who is told what happens. Addresses are here alone: they are in no fact, and gone when the row is.

CREATE TABLE gateway.recipient (
    recipient_id text PRIMARY KEY,
    tenant       text NOT NULL REFERENCES gateway.tenant,
    email        text NOT NULL,
    wishes       jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX recipient_of_tenant ON gateway.recipient (tenant, recipient_id);
SELECT public.protect('gateway.recipient');
