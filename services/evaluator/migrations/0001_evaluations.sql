-- One evaluation for each finished run, held by one work loop at a time, and the verdict of each suite.

CREATE TABLE evaluator.evaluation (
    id            text PRIMARY KEY,
    tenant        text NOT NULL,
    job_id        text NOT NULL,
    run_id        text NOT NULL UNIQUE,
    run           jsonb NOT NULL,
    suites        text[] NOT NULL,
    state         text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed')),
    fence         int NOT NULL DEFAULT 0,
    attempts      int NOT NULL DEFAULT 0,
    not_before    timestamptz NOT NULL DEFAULT now(),
    held_until    timestamptz,
    verdict       text,
    headline      text,
    reason        text,
    message       text,
    queued_at     timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz
);
CREATE INDEX evaluation_waiting ON evaluator.evaluation (queued_at) WHERE state IN ('queued', 'running');
CREATE INDEX evaluation_job ON evaluator.evaluation (tenant, job_id);
SELECT public.protect('evaluator.evaluation');

CREATE TABLE evaluator.score (
    evaluation_id text NOT NULL REFERENCES evaluator.evaluation,
    tenant        text NOT NULL,
    suite         text NOT NULL,
    base          double precision NOT NULL,
    tuned         double precision NOT NULL,
    change        double precision NOT NULL,
    low           double precision NOT NULL,
    high          double precision NOT NULL,
    verdict       text NOT NULL,
    items         int NOT NULL,
    PRIMARY KEY (evaluation_id, suite)
);
SELECT public.protect('evaluator.score');
