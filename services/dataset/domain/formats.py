"""Which format a file has, told by its content and never by its name.

The first bytes say whether it is text at all; the first record that is JSON says whose
shape it has. Also here: how a record that does not fit is explained to its owner.
"""

import re
from collections.abc import Callable, Mapping

import msgspec

from libs.errors import Rejected
from services.dataset.domain import conversations, pairs
from services.dataset.domain.examples import Example
from services.dataset.domain.problems import BadRecord, shown

HEAD = 64 << 10
"""Bytes of a file that detection looks at."""

CONVERSATIONS: Mapping[str, Callable[[bytes], Example]] = {
    "openai": conversations.openai,
    "sharegpt": conversations.sharegpt,
    "alpaca": conversations.alpaca,
    "prompt_completion": conversations.prompt_completion,
    "openai_preference": pairs.openai,
    "trl_preference": pairs.trl,
}
WHISPERX = "whisperx"
FORMATS = (*CONVERSATIONS, WHISPERX)

UTF8_MARK = b"\xef\xbb\xbf"

_MAGIC = {
    b"PK\x03\x04": ("is_archive", "a ZIP archive", "Unpack it and upload the JSON or JSONL file inside."),
    b"PK\x05\x06": ("is_archive", "an empty ZIP archive", "Upload the JSON or JSONL file itself."),
    b"\x1f\x8b": ("is_archive", "compressed with gzip", "Unpack it (gunzip FILE.gz) and upload what comes out."),
    b"BZh": ("is_archive", "compressed with bzip2", "Unpack it (bunzip2 FILE.bz2) and upload what comes out."),
    b"\xfd7zXZ\x00": ("is_archive", "compressed with xz", "Unpack it (unxz FILE.xz) and upload what comes out."),
    b"\x28\xb5\x2f\xfd": ("is_archive", "compressed with zstd", "Unpack it (unzstd FILE.zst) and upload that."),
    b"7z\xbc\xaf\x27\x1c": ("is_archive", "a 7z archive", "Unpack it and upload the JSON or JSONL file inside."),
    b"%PDF": ("is_binary", "a PDF", "Export its text as JSONL, one record per line."),
    b"PAR1": ("is_binary", "a Parquet file", "Export it as JSONL, one record per line."),
    b"ID3": ("is_binary", "sound", "Transcribe it with WhisperX and upload the JSON."),
    b"RIFF": ("is_binary", "sound or video", "Transcribe it with WhisperX and upload the JSON."),
    b"\xff\xfe": ("wrong_encoding", "UTF-16 text", "Save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8 OLD > NEW"),
    b"\xfe\xff": ("wrong_encoding", "UTF-16 text", "Save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8 OLD > NEW"),
}

_SHAPES = (
    ("openai_preference", ({"preferred_output"}, {"non_preferred_output"})),
    ("trl_preference", ({"chosen", "rejected"}, {"prompt", "chosen"}, {"prompt", "rejected"})),
    ("openai", ({"messages"},)),
    ("sharegpt", ({"conversations"}, {"conversation"})),
    ("alpaca", ({"instruction", "output"},)),
    ("prompt_completion", ({"prompt", "completion"},)),
    (WHISPERX, ({"segments"}, {"text", "start", "end"})),
)
_KNOWN = (
    "messages (OpenAI), conversations (ShareGPT), instruction and output (Alpaca), "
    "prompt and completion, segments (WhisperX), or, as pairs, preferred_output and non_preferred_output (OpenAI) or "
    "chosen and rejected (TRL)"
)
_PLACE = re.compile(r"(.*?)(?: - at `\$\.?([^`]*)`)?", re.DOTALL)


def check_text(head: bytes) -> None:
    """Raise ``Rejected`` when the first bytes of a file are no UTF-8 text: what it is, and what to upload instead."""
    for magic, (code, what, fix) in _MAGIC.items():
        if head.startswith(magic):
            raise Rejected(f"The file is {what}, not JSON or JSONL. {fix}", code=code, fix=fix)
    if b"\x00" in head:
        half = head[: len(head) // 2 * 2]
        if max(half[0::2].count(0), half[1::2].count(0)) > len(half) // 4:
            fix = "Save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8 OLD > NEW"
            raise Rejected(f"The file is UTF-16 text without a mark. {fix}", code="wrong_encoding", fix=fix)
        fix = "Upload JSON or JSONL text."
        raise Rejected(f"The file holds binary data, not text. {fix}", code="is_binary", fix=fix)
    if not head.removeprefix(UTF8_MARK).strip():
        fix = "Upload a file with at least ten conversations, one per line."
        raise Rejected(f"The file is empty. {fix}", code="empty_file", fix=fix)


def is_array(head: bytes) -> bool:
    """Whether the file is one JSON array of records."""
    return head.lstrip().startswith(b"[")


def is_document(head: bytes) -> bool:
    """Whether the file is one JSON object written over several lines, not a record per line.

    Its first line is no object, and its second neither begins like one nor, after an open bracket, is one.
    """
    first, _, rest = head.lstrip().partition(b"\n")
    second = rest.lstrip().partition(b"\n")[0]
    if not first.startswith(b"{") or not second or is_object(first):
        return False
    return not second.startswith(b"{") or (first.rstrip().endswith((b"{", b"[", b":")) and not is_object(second))


def shape_of(data: bytes) -> str | None:
    """Return the format whose fields this record has; None when it is not JSON or has none of them."""
    fields = _fields(data)
    for name, alternatives in _SHAPES:
        if any(needed <= fields for needed in alternatives):
            return name
    return None


def is_lesson(data: bytes) -> bool:
    """Whether a WhisperX record is a whole lesson, not a single segment."""
    return "segments" in _fields(data)


def unknown_format(data: bytes | None) -> Rejected:
    """Say that no format fits, with the fields that the first readable record has."""
    fields = sorted(shown(name) for name in _fields(data or b""))[:12]
    seen = f"The first record has the fields {', '.join(fields)}" if fields else "No record is a JSON object"
    fix = f"Each record needs {_KNOWN}."
    return Rejected(f"The format is not known. {seen}. {fix}", code="unknown_format", fix=fix)


def why_unreadable(error: Exception) -> BadRecord:
    """Explain why a record could not be decoded; the exceptions are those of ``msgspec.json``."""
    if isinstance(error, BadRecord):
        return error
    if isinstance(error, RecursionError):
        return BadRecord(
            "The record is nested too deeply.", code="too_deep", fix="Remove what is nested; a conversation is flat."
        )
    if isinstance(error, UnicodeDecodeError):
        return BadRecord(
            f"The text is not UTF-8 (byte 0x{error.object[error.start]:02X}); it may be Latin-1 or Windows-1252.",
            code="wrong_encoding",
            fix="Save the file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
        )
    if isinstance(error, msgspec.ValidationError):
        return _misfit(str(error))
    return BadRecord(
        f"The line is not JSON: {error}.", code="invalid_json", fix="Write one complete JSON object on one line."
    )


def too_long(size: int, limit: int) -> BadRecord:
    """Say that a record is longer than any that is read."""
    return BadRecord(
        f"The record has {size:,} bytes; at most {limit:,} are read.",
        code="line_too_long",
        fix="Split it into several records.",
    )


def _misfit(message: str) -> BadRecord:
    """Turn msgspec's "Expected `str`, got `int` - at `$.messages[2].content`" into a problem with its field."""
    found = _PLACE.fullmatch(message)
    what, field = (found[1], found[2] or "") if found else (message, "")
    missing = re.search(r"missing required field `(\w+)`", what)
    if missing:
        field = f"{field}.{missing[1]}".lstrip(".")
        return BadRecord(f"The field {field} is missing.", code="missing_field", field=field, fix="Add it.")
    return BadRecord(
        f"{what.replace('`', '')}.", code="wrong_type", field=field, fix="Write the field as its format wants it."
    )


def _fields(data: bytes) -> set[str]:
    try:
        return set(msgspec.json.decode(data, type=dict[str, msgspec.Raw]))
    except (ValueError, RecursionError):
        return set()


def is_object(data: bytes) -> bool:
    """Whether these bytes are one JSON value."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True
