-- What every service's schema has: its migrations, outbox, inbox and aggregate versions.

CREATE OR REPLACE FUNCTION public.protect(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
-- Keep tenants apart in this table, its owner included.
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', relation);
    EXECUTE format('DROP POLICY IF EXISTS tenant ON %s', relation);
    EXECUTE format(
        'CREATE POLICY tenant ON %s USING (current_setting(''app.tenant'', true) IN (tenant, ''*''))',
        relation
    );
END
$$;

CREATE TABLE IF NOT EXISTS {schema}.migration (
    number     int PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS {schema}.outbox (
    seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      text NOT NULL UNIQUE,
    tenant  text NOT NULL,
    subject text NOT NULL,
    headers jsonb NOT NULL,
    body    bytea NOT NULL
);
SELECT public.protect('{schema}.outbox');

CREATE TABLE IF NOT EXISTS {schema}.inbox (
    id text PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS inbox_at ON {schema}.inbox (at);

CREATE TABLE IF NOT EXISTS {schema}.aggregate_version (
    aggregate text PRIMARY KEY,
    tenant    text NOT NULL,
    version   bigint NOT NULL
);
SELECT public.protect('{schema}.aggregate_version');
