"""What a conversation becomes: the token ids a model reads, and which of them training teaches.

Serves the dataset service (previews, counts), the trainer (labels) and the evaluator (prompts): all see the same ids.
The model's own Jinja template is rendered in a sandbox with a sentinel in place of every content; only the scaffold
around the contents may hold control tokens. A ``<|im_end|>`` typed by a user stays plain text. Imports no torch.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn, Self

import msgspec
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel

Message = Mapping[str, Any]
"""A turn: ``role``, ``content``, and ``weight`` 0 on an assistant's turn that must not be learned (OpenAI's field)."""

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SLOT = re.compile("\ue000(\\d+)\ue001")
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


class ChatError(ValueError):
    """A conversation the model's template cannot carry; the message names the turn."""


class Encoded(Struct, frozen=True):
    """Token ``ids`` of one conversation, and for each whether training teaches it (``trained``, same length).

    ``cut`` tokens beyond ``max_length`` were left off, ``cut_trained`` of them would have been taught.
    """

    ids: list[int]
    trained: list[bool]
    cut: int = 0
    cut_trained: int = 0

    @property
    def trained_tokens(self) -> int:
        """How many tokens are taught; 0 means the conversation teaches nothing."""
        return sum(self.trained)

    @property
    def labels(self) -> list[int]:
        """The ids that are taught, -100 elsewhere (Hugging Face's convention)."""
        return [token if taught else -100 for token, taught in zip(self.ids, self.trained, strict=True)]


class Piece(Struct, frozen=True):
    """A part of the scaffold: plain ``text``, a control token (``token``), or the place of turn ``turn``'s content."""

    text: str = ""
    token: int | None = None
    turn: int | None = None


class Control(Struct, frozen=True):
    """A control token, and whether training teaches it: it ends a reply that is taught."""

    token: int
    taught: bool


class Run(Struct):
    """Text between two control tokens, with the spans (start, end) of it that are taught."""

    text: str = ""
    taught: list[tuple[int, int]] = msgspec.field(default_factory=list)


class ChatFormat:
    """A model's tokenizer and chat template. Safe to share between threads; make one per process."""

    def __init__(self, tokenizer: Tokenizer, template: str, special: Mapping[str, str]) -> None:
        """Take the tokenizer, the Jinja template and the named special tokens (``bos_token``, ``eos_token``)."""
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._special = dict(special)
        self._template = _environment().from_string(template)
        controls = {
            token.content: index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special
        }
        self._controls = controls
        self._silent = frozenset(controls.values())
        self._bytewise = isinstance(tokenizer.decoder, ByteLevel)
        self._control = re.compile(
            "|".join(re.escape(each) for each in sorted(controls, key=len, reverse=True)) or "$^"
        )
        self.scaffold = lru_cache(maxsize=4096)(self._scaffold)
        self.end_token = controls[self._special["eos_token"]]
        self._trims = self._render(("user",), False, pad=" ").find(" \ue000") < 0

    @classmethod
    def load(cls, model_dir: Path) -> Self:
        """Read ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja`` of a model's folder."""
        settings = msgspec.json.decode((model_dir / "tokenizer_config.json").read_bytes())
        special = {key: value for key, value in settings.items() if key.endswith("_token") and isinstance(value, str)}
        template = (model_dir / "chat_template.jinja").read_text(encoding="utf-8")
        return cls(Tokenizer.from_file(str(model_dir / "tokenizer.json")), template, special)

    def encode(self, messages: Sequence[Message], max_length: int | None = None) -> Encoded:
        """Encode a whole conversation as training sees it.

        Taught are the assistant's contents and the control token that ends each of them. What exceeds
        ``max_length`` tokens is cut from the end and counted. ``ChatError`` names a turn the template refuses.
        """
        ids, trained = self._tokens(messages, self.scaffold(_roles(messages), False))
        cut = len(ids) if max_length is None else min(max_length, len(ids))
        return Encoded(ids[:cut], trained[:cut], len(ids) - cut, sum(trained[cut:]))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Encode a conversation that the model is to continue with its next reply."""
        return self._tokens(messages, self.scaffold(_roles(messages), True))[0]

    def pieces(self, encoded: Encoded) -> list[tuple[str, bool]]:
        """Return the conversation as the model reads it, in stretches of text that are taught or are not."""
        marked = zip(encoded.ids, encoded.trained, strict=True)
        runs = ((taught, [token for token, _ in run]) for taught, run in groupby(marked, key=lambda each: each[1]))
        return [(self._tokenizer.decode(ids, skip_special_tokens=False), taught) for taught, ids in runs]

    def text(self, ids: Sequence[int]) -> str:
        """Return what generated ids say, control tokens left out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def octets(self, token: int, *, first: bool = False) -> bytes:
        """Return the bytes a generated token adds to a reply, perhaps half a character; a control token adds none.

        ``first``: the reply begins with it, where a SentencePiece model's leading blank is no part of the text.
        """
        if token in self._silent:
            return b""
        octets = self.spelled(token)
        return octets if self._bytewise or not first else octets.removeprefix(b" ")

    def spelled(self, token: int) -> bytes:
        """Return the bytes a token stands for, a control token's own name included."""
        piece = self._tokenizer.id_to_token(token) or ""
        if token in self._silent:
            return piece.encode()
        if self._bytewise:
            return bytes(_BYTE_OF[each] for each in piece) if set(piece) <= _BYTE_OF.keys() else piece.encode()
        if found := _BYTE.fullmatch(piece):
            return bytes([int(found[1], 16)])
        return piece.replace("▁", " ").encode()

    def plain(self, text: str) -> list[int]:
        """Encode bare text; nothing in it becomes a control token."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def count(self, text: str) -> int:
        """Count the tokens of bare text."""
        return len(self.plain(text))

    def layout(self, messages: Sequence[Message]) -> Iterator[Control | Run]:
        """Yield a whole conversation, untokenised, as training sees it: control tokens and the texts between them."""
        return self._layout(messages, self.scaffold(_roles(messages), False))

    def read(self, run: Run) -> tuple[list[int], list[bool]]:
        """Return the token ids of a text, and of each whether training teaches it."""
        encoding = self._tokenizer.encode(run.text, add_special_tokens=False)
        if not run.taught:
            return encoding.ids, [False] * len(encoding.ids)
        return encoding.ids, [any(s < end and e > start for start, end in run.taught) for s, e in encoding.offsets]

    def _tokens(self, messages: Sequence[Message], scaffold: tuple[Piece, ...]) -> tuple[list[int], list[bool]]:
        ids: list[int] = []
        trained: list[bool] = []
        for part in self._layout(messages, scaffold):
            if isinstance(part, Control):
                ids.append(part.token)
                trained.append(part.taught)
            else:
                found, taught = self.read(part)
                ids.extend(found)
                trained.extend(taught)
        return ids, trained

    def _layout(self, messages: Sequence[Message], scaffold: tuple[Piece, ...]) -> Iterator[Control | Run]:
        run, ending = Run(), False
        for piece in scaffold:
            if piece.token is not None:
                if run.text:
                    yield run
                yield Control(piece.token, ending)
                run, ending = Run(), False
            elif piece.turn is not None:
                content = self._content(messages[piece.turn])
                ending = _is_taught(messages[piece.turn])
                if ending:
                    run.taught.append((len(run.text), len(run.text) + len(content)))
                run.text += content
            else:
                run.text += piece.text
        if run.text:
            yield run

    def _content(self, message: Message) -> str:
        content = message["content"]
        return str(content).strip() if self._trims else str(content)

    def _scaffold(self, roles: tuple[str, ...], generate: bool) -> tuple[Piece, ...]:
        """Cut the rendered template into control tokens, plain text and the places of the contents."""
        parts = _SLOT.split(self._render(roles, generate))
        turns = [int(each) for each in parts[1::2]]
        if sorted(turns) != list(range(len(roles))):
            lost = next(index for index in range(len(roles)) if turns.count(index) != 1)
            raise ChatError(
                f"The model's template has no one place for turn {lost + 1} ({roles[lost]}): remove that turn."
            )
        pieces: list[Piece] = []
        for index, part in enumerate(parts):
            pieces += [Piece(turn=int(part))] if index % 2 else self._cut(part)
        return tuple(pieces)

    def _cut(self, text: str) -> list[Piece]:
        pieces, at = [], 0
        for found in self._control.finditer(text):
            if found.start() > at:
                pieces.append(Piece(text=text[at : found.start()]))
            pieces.append(Piece(token=self._controls[found.group()]))
            at = found.end()
        return pieces + ([Piece(text=text[at:])] if at < len(text) else [])

    def _render(self, roles: tuple[str, ...], generate: bool, pad: str = "") -> str:
        slots = [{"role": role, "content": f"{pad}\ue000{index}\ue001{pad}"} for index, role in enumerate(roles)]
        try:
            return str(self._template.render(messages=slots, add_generation_prompt=generate, **self._special))
        except TemplateError as error:
            raise ChatError(f"The model's chat template refuses the roles {', '.join(roles)}: {error}") from error


def _bytes_by_letter() -> dict[str, int]:
    """Return the byte each letter of a byte-level vocabulary stands for (OpenAI, GPT-2, ``bytes_to_unicode``)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}


_BYTE_OF = _bytes_by_letter()


def _roles(messages: Sequence[Message]) -> tuple[str, ...]:
    roles = tuple(str(each["role"]) for each in messages)
    if not roles:
        raise ChatError("The conversation has no turns: nothing can be read or taught.")
    strange = next((role for role in roles if role not in ROLES), None)
    if strange is not None:
        raise ChatError(f"{strange!r} is no role a model knows. Use one of: {', '.join(sorted(ROLES))}.")
    return roles


def _is_taught(message: Message) -> bool:
    return message["role"] == "assistant" and bool(message.get("weight", 1))


def _environment() -> ImmutableSandboxedEnvironment:
    """Make the environment Hugging Face templates expect (transformers, utils/chat_template_utils.py)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: msgspec.json.encode(value).decode()
    environment.globals["raise_exception"] = _refuse
    return environment


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
