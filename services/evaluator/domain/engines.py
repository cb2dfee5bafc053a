"""What a model may speak through, by the names that settings, facts and rows have for it."""

from typing import Final

from msgspec import Struct

LLAMA: Final = "llama.cpp"
TRANSFORMERS: Final = "transformers"
VLLM: Final = "vllm"


class Remote(Struct, frozen=True, kw_only=True):
    """A vLLM server: its address, the key it asks for, if any, and where it sees the folder that adapters lie in.

    ``kept`` adapters lie on it, ``conversations`` are answered at once, ``reply_limit`` tokens unless asked.
    """

    url: str
    key: str
    adapters: str
    kept: int
    conversations: int
    reply_limit: int
