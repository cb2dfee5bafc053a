"""The table of a campaign: fault × process × point, how often, how it ended, what it cost."""

import json
import platform
from pathlib import Path
from statistics import quantiles
from typing import Any

from tests.faults.dealing import Outcome

HEAD = (
    "| fault | process | point | runs | right end | s to first new step, p50 | p95 | steps lost, p50 | most |\n"
    "|---|---|---|---:|---:|---:|---:|---:|---:|"
)


def rows(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return one row for each fault, process and point, and one for all random kills of a process."""
    groups: dict[tuple[str, str, str], list[Outcome]] = {}
    for each in outcomes:
        if each.bit:
            groups.setdefault((each.fault, each.process, each.point), []).append(each)
    return [_row(*key, found) for key, found in sorted(groups.items())]


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the figures of the issue."""
    kills = [each for each in outcomes if each.bit and each.fault == "SIGKILL"]
    lost = [each for each in kills if each.process in ("child", "runner")]
    hosts = [each for each in outcomes if each.bit and each.fault == "host lost"]
    graceful = [each for each in outcomes if each.bit and each.fault.startswith("SIGTERM")]
    return {
        "machine": f"{platform.machine()}, {platform.python_version()}",
        "faults that bit": sum(each.bit for each in outcomes),
        "faults that did not bite": sum(not each.bit for each in outcomes),
        "wrong ends": [each.number for each in outcomes if each.wrong],
        "random kills": _row("SIGKILL", "any", "any", kills),
        "training or runner killed": _row("SIGKILL", "child or runner", "any", lost),
        "host lost": _row("host lost", "runner + child", "any", hosts),
        "graceful stop": _row("SIGTERM", "runner", "any", graceful),
    }


def write(folder: Path, outcomes: list[Outcome], settings: dict[str, Any]) -> str:
    """Write ``faults.json`` and ``faults.md`` and return the latter."""
    total, found = summary(outcomes), rows(outcomes)
    (folder / "faults.json").write_text(json.dumps({"settings": settings, "summary": total, "rows": found}, indent=1))
    whole = [each for each in total.values() if isinstance(each, dict)]
    wrong = [_wrong(each) for each in outcomes if each.wrong]
    text = "\n".join(
        [
            f"{total['faults that bit']} faults bit, {len(total['wrong ends'])} of them ended wrongly; "
            f"{total['faults that did not bite']} did not bite and count for nothing.",
            "", HEAD, *map(_line, whole), "", HEAD, *map(_line, found), "", *wrong,
        ]
    )  # fmt: skip
    (folder / "faults.md").write_text(text + "\n")
    return text


def _row(fault: str, process: str, point: str, found: list[Outcome]) -> dict[str, Any]:
    seconds = [each.seconds for each in found if each.seconds is not None]
    lost = [each.lost_steps for each in found]
    return {
        "fault": fault, "process": process, "point": point, "runs": len(found),
        "recovered": sum(each.right for each in found), "timed": len(seconds),
        "seconds_p50": _quantile(seconds, 50), "seconds_p95": _quantile(seconds, 95),
        "lost_steps_p50": _quantile(lost, 50), "lost_steps_most": max(lost, default=0),
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    cells = (
        row["fault"], row["process"], row["point"], row["runs"], row["recovered"], _shown(row["seconds_p50"]),
        _shown(row["seconds_p95"]), _shown(row["lost_steps_p50"]), row["lost_steps_most"],
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def _wrong(one: Outcome) -> str:
    return f"- {one.number}: {one.fault} × {one.process} × {one.point}: {one.wrong} ({one.evidence})"


def _quantile(values: list[Any], percent: int) -> float | None:
    """Return a percentile, by linear interpolation; of one value, that value."""
    if len(values) < 2:
        return values[0] if values else None
    return round(quantiles(values, n=100, method="inclusive")[percent - 1], 2)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
