"""Several notices as one: what happened since yesterday's digest, a line for each thing."""

from collections import Counter
from collections.abc import Sequence

from services.notifier.domain.notice import Notice, Surroundings

MOST = 40
"""Slack draws 50 blocks at most, and nobody reads more lines."""

WEIGHT = {"bad": 2, "good": 1, "plain": 0}


def digest_of(notices: Sequence[Notice], here: Surroundings) -> Notice:
    """Return one notice for several; what went wrong comes first."""
    ordered = sorted(notices, key=lambda notice: -WEIGHT[notice.mood])
    counted = Counter(notice.title for notice in ordered)
    lines = [(notice.job_id, f"{notice.title}: {_subject(notice)}") for notice in ordered[:MOST]]
    if len(ordered) > MOST:
        lines.append(("And more", f"{len(ordered) - MOST:,} further notices; the list of jobs has them all."))
    return Notice(
        title=f"Your digest: {len(notices):,} things happened",
        lead="; ".join(f"{count:,} × {_said(title)}" for title, count in counted.items()) + ".",
        mood="bad" if any(notice.mood == "bad" for notice in notices) else "plain",
        job_id=f"{len({notice.job_id for notice in notices}):,} jobs",
        link=here.jobs(),
        link_label="See the jobs",
        figures=tuple(lines),
    )


def _subject(notice: Notice) -> str:
    """Return what a line is about: the model where there is one, else the notice's own sentence."""
    return dict(notice.figures).get("Model", notice.lead)


def _said(title: str) -> str:
    return title[:1].lower() + title[1:]
