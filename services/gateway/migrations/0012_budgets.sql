-- What an organisation may spend in a month, and how the scheduler counts the newest month it told of.
CREATE TABLE gateway.budget (
    tenant      text PRIMARY KEY REFERENCES gateway.tenant,
    monthly     double precision NOT NULL DEFAULT 0,
    zone        text NOT NULL DEFAULT 'UTC',
    month       text NOT NULL DEFAULT '',
    version     bigint NOT NULL DEFAULT 0,
    counted_by  double precision NOT NULL DEFAULT 0,
    spent       double precision NOT NULL DEFAULT 0,
    held        double precision NOT NULL DEFAULT 0,
    used_up     boolean NOT NULL DEFAULT false
);
SELECT public.protect('gateway.budget');
