-- Keys belong to members, who have roles; keys can be narrowed, expire and be rotated; and a log in a hash chain of
-- everything that members change.

CREATE TABLE gateway.member (
    member_id     text PRIMARY KEY,
    tenant        text NOT NULL REFERENCES gateway.tenant,
    name          text NOT NULL,
    email         text,
    role          text NOT NULL CHECK (role IN ('owner', 'engineer', 'analyst', 'staff')),
    password      text,
    invite_digest bytea,
    invite_until  timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    removed_at    timestamptz
);
CREATE UNIQUE INDEX member_email ON gateway.member (tenant, email) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX member_invite ON gateway.member (invite_digest) WHERE invite_digest IS NOT NULL;
SELECT public.protect('gateway.member');

-- Keys made before there were members belong to an owner that each organisation gets.
INSERT INTO gateway.member (member_id, tenant, name, role)
SELECT 'member-' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 24), tenant, 'Owner', 'owner'
  FROM gateway.tenant;

ALTER TABLE gateway.api_key
    ADD COLUMN member_id    text REFERENCES gateway.member,
    ADD COLUMN scopes       text[],
    ADD COLUMN expires_at   timestamptz,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN made_by      text,
    ADD COLUMN rotated_to   text REFERENCES gateway.api_key;
UPDATE gateway.api_key SET member_id = member.member_id FROM gateway.member WHERE member.tenant = api_key.tenant;
ALTER TABLE gateway.api_key
    ALTER COLUMN member_id SET NOT NULL,
    DROP COLUMN role;
CREATE INDEX key_of_member ON gateway.api_key (member_id);

CREATE TABLE gateway.audit (
    tenant     text NOT NULL REFERENCES gateway.tenant,
    number     bigint NOT NULL,
    at         timestamptz NOT NULL,
    actor      text NOT NULL,
    via        text NOT NULL,
    action     text NOT NULL,
    about      text NOT NULL,
    details    text NOT NULL,
    origin     text NOT NULL,
    request_id text NOT NULL,
    previous   bytea NOT NULL,
    hash       bytea NOT NULL,
    PRIMARY KEY (tenant, number)
);
SELECT public.protect('gateway.audit');

-- How long a tenant's log is and how it ends; its row is locked by whoever writes the next entry.
ALTER TABLE gateway.tenant
    ADD COLUMN audited    bigint NOT NULL DEFAULT 0,
    ADD COLUMN audit_head bytea NOT NULL DEFAULT '\x';

CREATE FUNCTION gateway.keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries of the audit log are never changed';
END
$$;
CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE ON gateway.audit
    FOR EACH STATEMENT EXECUTE FUNCTION gateway.keep_audit();
