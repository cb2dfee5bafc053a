-- Who calls is looked up before any organisation is known: a question of one round trip that sees all of them.

CREATE FUNCTION gateway.key_holder(wanted text)
    RETURNS TABLE (
        tenant text, digest bytea, member_id text, scopes text[], expires_at timestamptz, revoked_at timestamptz, role text
    )
    LANGUAGE sql STABLE SET app.tenant = '*'
AS $$
    SELECT k.tenant, k.digest, k.member_id, k.scopes, k.expires_at, k.revoked_at, m.role
      FROM gateway.api_key k
      JOIN gateway.member m USING (member_id)
     WHERE k.prefix = wanted
$$;

CREATE FUNCTION gateway.session_holder(wanted bytea)
    RETURNS TABLE (tenant text, session_id text, member_id text, expires_at timestamptz, role text)
    LANGUAGE sql STABLE SET app.tenant = '*'
AS $$
    SELECT s.tenant, s.session_id, s.member_id, s.expires_at, m.role
      FROM gateway.session s
      JOIN gateway.member m USING (member_id)
     WHERE s.digest = wanted
       AND s.ended_at IS NULL
       AND s.expires_at > now()
$$;
