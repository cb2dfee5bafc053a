-- A long run's figures summed up by spans of steps, so that its curve is drawn without reading every step.

CREATE TABLE gateway.metric_span (
    job_id         text NOT NULL REFERENCES gateway.job,
    span           bigint NOT NULL,
    tenant         text NOT NULL,
    step           bigint NOT NULL,
    points         int NOT NULL,
    train_loss     double precision NOT NULL,
    train_loss_min double precision NOT NULL,
    train_loss_max double precision NOT NULL,
    valid_loss     double precision,
    learning_rate  double precision NOT NULL,
    grad_norm      double precision NOT NULL,
    PRIMARY KEY (job_id, span)
);
SELECT public.protect('gateway.metric_span');
