"""A notice in Slack's dress: the JSON body of an incoming webhook, in Block Kit.

Shapes and limits: docs.slack.dev/reference/block-kit/blocks. ``&``, ``<`` and ``>`` are the only
signs with a meaning in Slack's text (docs.slack.dev/messaging/formatting-message-text); escaped,
``<!channel>`` in a model's name wakes nobody. Values stand in ``plain_text``, where nothing is markup.
"""

from typing import Any

from services.notifier.domain.notice import Notice

SIGNS = {"good": "✅", "bad": "⚠️", "plain": "ℹ️"}
LONGEST_HEADER = 150
LONGEST_TEXT = 2900
LONGEST_FIELD = 1900
"""Slack refuses a whole message for one text over 150, 3000 or 2000 characters; escaping may lengthen one."""


def message(notice: Notice) -> dict[str, Any]:
    """Return the webhook's body; ``text`` is what a phone shows before the blocks are drawn."""
    return {
        "text": escaped(f"{SIGNS[notice.mood]} {notice.title}: {notice.lead}", LONGEST_TEXT),
        "unfurl_links": False,
        "blocks": [
            {"type": "header", "text": _plain(f"{SIGNS[notice.mood]} {notice.title}", LONGEST_HEADER)},
            {"type": "section", "text": _marked(escaped(notice.lead, LONGEST_TEXT))},
            *_figures(notice),
            {"type": "section", "text": _marked(f"*<{escaped(notice.link, LONGEST_TEXT)}|{notice.link_label}>*")},
            {"type": "context", "elements": [_plain(f"Woodshed · {notice.job_id}", LONGEST_FIELD)]},
        ],
    }


def escaped(text: str, longest: int) -> str:
    """Return text in which nothing is markup, of at most ``longest`` characters; an entity is never cut in two."""
    kept, length = [], 0
    for sign in text:
        safe = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(sign, sign)
        length += len(safe)
        if length > longest:
            break
        kept.append(safe)
    return "".join(kept)


def _figures(notice: Notice) -> list[dict[str, Any]]:
    """Return one section for each figure's label and value side by side, none without figures."""
    return [
        {"type": "section", "fields": [_marked(f"*{label}*"), _plain(value or "–", LONGEST_FIELD)]}
        for label, value in notice.figures
    ]


def _plain(text: str, longest: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": text[:longest], "emoji": False}


def _marked(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}
