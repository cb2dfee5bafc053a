"""Two loss curves in one picture: a run that was left alone, and the same run on machines that were taken away."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.evaluator.report.charts import ACCENT, LOOK, MUTED, QUIET

Curve = list[tuple[int, float]]
"""Step and training loss in nats a token."""

PLAIN, TAKEN = "Undisturbed", "Preempted"
WIDTHS = {PLAIN: 7, TAKEN: 1.5}


def draw(folder: Path, plain: Curve, taken: Curve, stops: Sequence[int]) -> list[Path]:
    """Write ``curves.svg`` and ``curves.png``; ``stops`` are the steps at which the second run was interrupted."""
    import vl_convert

    spec = picture(plain, taken, stops)
    svg, png = folder / "curves.svg", folder / "curves.png"
    svg.write_text(vl_convert.vegalite_to_svg(spec, vl_version="6.4", allowed_base_urls=[]))
    png.write_bytes(vl_convert.vegalite_to_png(spec, vl_version="6.4", scale=2, allowed_base_urls=[]))
    return [svg, png]


def picture(plain: Curve, taken: Curve, stops: Sequence[int]) -> dict[str, Any]:
    """Return the Vega-Lite chart: one run broad beneath the other, so that both are seen where they meet."""
    curves = ((PLAIN, plain), (TAKEN, taken))
    rows = [{"step": step, "loss": loss, "run": run} for run, curve in curves for step, loss in curve]
    scale = {"domain": [PLAIN, TAKEN], "range": [QUIET, ACCENT]}
    lines = {
        "mark": {"type": "line"},
        "encoding": {
            "x": {"field": "step", "type": "quantitative", "title": "optimiser step", "axis": {"grid": False}},
            "y": {"field": "loss", "type": "quantitative", "title": "loss (nats per token)", "scale": {"zero": False}},
            "color": {"field": "run", "type": "nominal", "scale": scale, "legend": {"symbolType": "stroke"}},
            "strokeWidth": {
                "field": "run",
                "type": "nominal",
                "scale": {"domain": list(WIDTHS), "range": list(WIDTHS.values())},
                "legend": None,
            },
        },
    }
    return {
        "data": {"values": rows},
        "width": 640,
        "height": 260,
        "padding": 8,
        "config": LOOK | {"background": "white", "font": "sans-serif"},
        "layer": [lines, *_stops(stops)],
    }


def _stops(stops: Sequence[int]) -> list[dict[str, Any]]:
    values = {"values": [{"step": step, "said": "taken"} for step in stops]}
    x = {"field": "step", "type": "quantitative"}
    rule = {"type": "rule", "strokeDash": [4, 4], "color": MUTED}
    word = {"type": "text", "baseline": "bottom", "y": -3, "color": MUTED, "fontSize": 10}
    return [
        {"data": values, "mark": rule, "encoding": {"x": x}},
        {"data": values, "mark": word, "encoding": {"x": x, "text": {"field": "said"}}},
    ]
