"""Answer until stdin closes: ``python -m services.evaluator.answering``. Keeps the model it was last asked for."""

import sys
from functools import lru_cache

import msgspec

from services.evaluator.answering.shapes import Asked, Said
from services.evaluator.scoring.failures import classified


@lru_cache(maxsize=1)
def loaded(base: str, adapter: str, threads: int, precision: str):  # type: ignore[no-untyped-def]
    """Load a base with an adapter; the one asked for last stays."""
    from services.evaluator.scoring import machine

    return machine.load(base, adapter, threads=threads, precision=precision)[0]


def answer(asked: Asked) -> Said:
    """Let both models answer, greedily."""
    from libs.lm.generate import replies

    models = loaded(asked.base, asked.adapter, asked.threads, asked.precision)
    conversation = [[{"role": "user", "content": asked.prompt}]]
    base, tuned = (
        replies(models, conversation, tuned=each, max_new_tokens=asked.max_tokens)[0].text for each in (False, True)
    )
    return Said(base=base, tuned=tuned)


def main() -> None:
    """Answer line by line; what cannot be answered is said, a bug ends the process."""
    for line in sys.stdin.buffer:
        try:
            said = answer(msgspec.json.decode(line, type=Asked))
        except Exception as error:
            failure = classified(error)
            if failure is None:
                raise
            said = Said(failure=failure)
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
