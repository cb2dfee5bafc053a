"""The report as PDF, set by typst. The template reads data.json; no text is ever put into its source."""

import tempfile
from pathlib import Path

import msgspec

from services.evaluator.domain.words import lasted, signed
from services.evaluator.report.data import ReportData

TEMPLATE = Path(__file__).parent / "report.typ"


def render(data: ReportData, drawings: dict[str, str]) -> bytes:
    """Set the report; its folder is the only one typst may read."""
    import typst

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data.json").write_bytes(msgspec.json.encode(_told(data, list(drawings))))
        for drawing, svg in drawings.items():
            (folder / f"{drawing}.svg").write_text(svg, encoding="utf-8")
        source = folder / "report.typ"
        source.write_bytes(TEMPLATE.read_bytes())
        return bytes(typst.compile(str(source), root=str(folder), timestamp=int(data.made_at.timestamp())))


def _told(data: ReportData, drawings: list[str]) -> dict[str, object]:
    """Add what the template cannot work out: changes and durations in words, which drawings there are."""
    told: dict[str, object] = msgspec.to_builtins(data)
    told["drawings"] = drawings
    told["date"] = f"{data.made_at:%-d %B %Y}"
    told["changes"] = [signed(each.change) for each in data.examples]
    told["intervals"] = [
        f"{signed(each.change.value)} ({signed(each.change.low)} to {signed(each.change.high)})" for each in data.scores
    ]
    told["lasted"] = {part: lasted(seconds) for part, seconds in data.seconds.items()}
    told["trained"] = lasted(data.run.train_seconds)
    told["held_device"] = lasted(data.run.device_seconds)
    return told
