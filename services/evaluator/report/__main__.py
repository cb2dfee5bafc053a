"""Write a report: ``python -m services.evaluator.report SPEC.json``, a process of its own that ends when done.

Leaves report.json, report.html and report.pdf in the folder the specification names. The
drawing engines are large; the service that waits for this process stays small.
"""

import sys
from pathlib import Path

import msgspec

from services.evaluator.report import charts, page, paper
from services.evaluator.report.build import ReportSpec, build
from services.evaluator.report.clean import cleaned
from services.evaluator.report.data import ReportData
from services.evaluator.scoring import knowledge
from services.evaluator.scoring.shapes import Measured


def write(data: ReportData, out: Path) -> None:
    """Tell the data three ways into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(data)))
    drawn = drawings(data)
    shown = cleaned(data)
    (out / "report.html").write_text(page.render(shown, drawn), encoding="utf-8")
    (out / "report.pdf").write_bytes(paper.render(shown, drawn))


def drawings(data: ReportData) -> dict[str, str]:
    """Draw the charts there are figures for, by name."""
    drawn = {"perplexity": charts.perplexity(data.bands)}
    if data.topics:
        drawn["knowledge"] = charts.knowledge(data.topics, 1 / knowledge.CHOICES)
    if len(data.curve) > 1:
        drawn["losses"] = charts.losses(data.curve)
    return drawn


def main() -> None:
    """Build the report the specification asks for."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ReportSpec)
    measured = msgspec.json.decode(Path(spec.scoring.result).read_bytes(), type=Measured)
    write(build(spec, measured), Path(spec.out))


if __name__ == "__main__":
    main()
