"""Three charts as SVG, drawn by Vega-Lite without a browser: perplexity, knowledge by topic, the loss curve."""

from collections.abc import Sequence
from typing import Any

from services.evaluator.report.data import Band, CurvePoint, Topic

ACCENT, QUIET, INK, MUTED, RULE = "#1f6b5a", "#b9b4a8", "#23211d", "#6d685e", "#e4e0d6"
FONT = "Libertinus Serif"
BOTH = {"domain": ["Base", "Tuned"], "range": [QUIET, ACCENT]}

LOOK: dict[str, Any] = {
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelColor": MUTED,
        "titleColor": MUTED,
        "domainColor": RULE,
        "tickColor": RULE,
        "gridColor": RULE,
        "labelPadding": 6,
    },
    "legend": {"labelFontSize": 12, "labelColor": INK, "title": None, "orient": "top", "symbolType": "circle"},
}


def perplexity(bands: Sequence[Band]) -> str:
    """Draw each model's perplexity from zero, with its own 95 % interval."""
    y = {
        "field": "model",
        "type": "nominal",
        "title": None,
        "sort": None,
        "axis": {"labelFontSize": 14, "ticks": False},
    }
    x = {"type": "quantitative", "title": "perplexity on held-out replies (lower is better)", "axis": {"tickCount": 6}}
    layers = [
        {
            "mark": {"type": "bar", "height": 26, "cornerRadiusEnd": 2},
            "encoding": {"x": {**x, "field": "value"}, "color": _by_model()},
        },
        {
            "mark": {"type": "rule", "color": INK, "strokeWidth": 1.5},
            "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "text", "align": "left", "dx": 8, "fontSize": 14, "color": INK},
            "encoding": {"x": {**x, "field": "high"}, "text": {"field": "value", "format": ".2f"}},
        },
    ]
    rows = [{"model": each.model, "value": each.value, "low": each.low, "high": each.high} for each in bands]
    return _svg(rows, {"encoding": {"y": y}, "layer": layers, "height": 96})


def knowledge(topics: Sequence[Topic], chance: float) -> str:
    """Draw the share of right answers by topic, both models side by side, with a line where guessing stands."""
    rows = [
        {"topic": each.name, "model": model, "share": right / each.asked}
        for each in topics
        for model, right in (("Base", each.base), ("Tuned", each.tuned))
    ]
    scale = {"domain": [0, 1]}
    axis = {"format": ".0%", "tickCount": 5}
    share = {"field": "share", "type": "quantitative", "title": "right answers", "scale": scale, "axis": axis}
    bars = {
        "mark": {"type": "bar", "cornerRadiusEnd": 2},
        "encoding": {
            "x": {"field": "topic", "type": "nominal", "title": None, "sort": None, "axis": {"labelAngle": 0}},
            "xOffset": {"field": "model", "type": "nominal", "sort": None},
            "y": share,
            "color": _by_model(legend={}),
        },
    }
    rule = {"mark": {"type": "rule", "strokeDash": [4, 4], "color": MUTED}, "encoding": {"y": {"datum": chance}}}
    return _svg(rows, {"layer": [bars, rule], "height": 170})


def losses(curve: Sequence[CurvePoint]) -> str:
    """Draw training loss by step, and held-out loss where it was measured."""
    rows = [{"step": each.step, "loss": each.loss, "kind": "Training"} for each in curve if each.loss is not None]
    rows += [
        {"step": each.step, "loss": each.eval_loss, "kind": "Held out"} for each in curve if each.eval_loss is not None
    ]
    colour = {
        "field": "kind",
        "type": "nominal",
        "legend": {},
        "scale": {"domain": ["Training", "Held out"], "range": [QUIET, ACCENT]},
    }
    chart = {
        "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 24}},
        "encoding": {
            "x": {"field": "step", "type": "quantitative", "title": "optimiser step", "axis": {"grid": False}},
            "y": {"field": "loss", "type": "quantitative", "title": "loss (nats)", "scale": {"zero": False}},
            "color": colour,
        },
        "height": 170,
    }
    return _svg(rows, chart)


def _by_model(legend: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"field": "model", "type": "nominal", "scale": BOTH, "legend": legend}


def _svg(rows: list[dict[str, Any]], chart: dict[str, Any]) -> str:
    import vl_convert

    spec = {"data": {"values": rows}, "width": 460, "padding": 4, "config": LOOK, **chart}
    return str(vl_convert.vegalite_to_svg(spec, vl_version="6.4", allowed_base_urls=[]))
