"""Text that people and models wrote, made safe to print: no control characters, nothing that turns text around.

Neither the page nor the paper ever reads such text as markup (autoescape; JSON values);
what is left to remove are characters that hide or reorder what stands beside them.
"""

import re
from typing import Any

import msgspec

from services.evaluator.report.data import ReportData

_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")


def cleaned(data: ReportData) -> ReportData:
    """Return the report with every string cleaned."""
    return msgspec.convert(_walk(msgspec.to_builtins(data)), ReportData)


def plain(text: str) -> str:
    """Return the text without control characters, bidirectional overrides and invisible marks."""
    return _HIDDEN.sub("\ufffd", text.replace("\r\n", "\n"))


def _walk(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {key: _walk(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(each) for each in value]
    return value
