-- People sign in with a password and have sessions; whoever guesses passwords waits.

CREATE TABLE gateway.session (
    session_id text PRIMARY KEY,
    tenant     text NOT NULL REFERENCES gateway.tenant,
    member_id  text NOT NULL REFERENCES gateway.member,
    digest     bytea NOT NULL UNIQUE,
    origin     text NOT NULL,
    program    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz
);
CREATE INDEX session_of_member ON gateway.session (member_id) WHERE ended_at IS NULL;
SELECT public.protect('gateway.session');

CREATE TABLE gateway.attempts (
    tenant  text NOT NULL,
    who     bytea NOT NULL,
    count   int NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, who)
);
CREATE INDEX attempts_age ON gateway.attempts (last_at);
SELECT public.protect('gateway.attempts');
