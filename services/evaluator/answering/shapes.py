"""One line in, one line out: what the answering process is asked and says. No torch."""

from msgspec import Struct

from services.evaluator.scoring.shapes import Failure


class Asked(Struct, frozen=True, kw_only=True):
    """A prompt for a base model and the adapter on it; folders are of this machine."""

    base: str
    adapter: str
    prompt: str
    max_tokens: int
    threads: int
    precision: str


class Said(Struct, frozen=True, kw_only=True):
    """Both replies, or why there are none."""

    base: str = ""
    tuned: str = ""
    failure: Failure | None = None
