"""The report as one web page: no outside request, every text escaped by the template engine."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from services.evaluator.domain.words import lasted, signed
from services.evaluator.report.data import ReportData


def render(data: ReportData, drawings: dict[str, str]) -> str:
    """Fill the template; ``drawings`` are SVG that this house drew, all else is escaped."""
    engine = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters |= {"signed": signed, "lasted": lasted}
    svg = {name: Markup(_own_ids(name, drawing)) for name, drawing in drawings.items()}
    return str(engine.get_template("report.html.j2").render(data=data, run=data.run, svg=svg))


def _own_ids(name: str, drawing: str) -> str:
    """Keep the drawings' ids apart: they stand in one page."""
    return drawing.replace(' id="', f' id="{name}-').replace("url(#", f"url(#{name}-")
