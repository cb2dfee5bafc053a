-- What was said of a run to people, once for each code and step whatever is repeated.

CREATE TABLE trainer.remark (
    run_id text NOT NULL REFERENCES trainer.run,
    code   text NOT NULL,
    step   bigint NOT NULL,
    tenant text NOT NULL,
    PRIMARY KEY (run_id, code, step)
);
SELECT public.protect('trainer.remark');
