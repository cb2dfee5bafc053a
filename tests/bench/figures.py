"""What a benchmark found, beside its goal: kept for the table and the picture at the end of ``make bench``.

A bench calls ``note``; without ``make bench`` around it that does nothing. Pictures are SVG, written by hand: bars with
the least and the most as a thin line, and the goal as an upright one.
"""

import os
import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec
from msgspec import Struct

FILE = "WOODSHED_BENCH_FIGURES"
"""The environment variable that names the file in which figures are kept, one JSON object a line."""
WIDTH, LABEL, BAR, GAP, TOP = 760, 330, 16, 10, 34
COLOURS = {True: "#2f7d4f", False: "#b3542e", None: "#4a6fa5"}


class Figure(Struct, frozen=True, kw_only=True):
    """One measured figure: the median with the least and the most, and its goal where it has one."""

    bench: str
    what: str
    value: float
    least: float
    most: float
    unit: str = ""
    goal: float | None = None
    less_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """How often the goal is reached: 1 is just so, 2 twice as well; ``None`` without a goal."""
        if self.goal is None or not self.value:
            return None
        return self.goal / self.value if self.less_is_better else self.value / self.goal


class Bar(Struct, frozen=True):
    """A line of a picture; ``well`` colours it, the goal being reached or not."""

    name: str
    value: float
    least: float
    most: float
    says: str
    well: bool | None = None


def note(
    bench: str,
    what: str,
    measured: Sequence[float],
    unit: str = "",
    *,
    goal: float | None = None,
    less_is_better: bool = False,
) -> Figure:
    """Keep a figure measured once or several times; its median counts."""
    figure = Figure(
        bench=bench,
        what=what,
        value=statistics.median(measured),
        least=min(measured),
        most=max(measured),
        unit=unit,
        goal=goal,
        less_is_better=less_is_better,
    )
    if file := os.environ.get(FILE):
        with Path(file).open("ab") as stream:
            stream.write(msgspec.json.encode(figure) + b"\n")
    return figure


def read(file: Path) -> list[Figure]:
    """Read what was kept."""
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [msgspec.json.decode(line, type=Figure) for line in lines]


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table, with the ratio to each goal."""
    rows = ["| | measured (least–most) | goal | × goal |", "|---|---|---|---|"]
    for each in figures:
        spread = f" ({_short(each.least)}–{_short(each.most)})" if each.least < each.most else ""
        sign = "≤" if each.less_is_better else "≥"
        goal = "" if each.goal is None else f"{sign} {_short(each.goal)} {each.unit}".rstrip()
        ratio = "" if each.ratio is None else f"**{each.ratio:.2f}**"
        measured = f"{_short(each.value)} {each.unit}".rstrip()
        rows.append(f"| {each.bench}: {each.what} | {measured}{spread} | {goal} | {ratio} |")
    return "\n".join(rows)


def picture(figures: Sequence[Figure]) -> str:
    """Draw how often each goal is reached."""
    bars = []
    for each in figures:
        if each.ratio is not None and each.goal:
            ends = sorted((_ratio(each, each.least), _ratio(each, each.most)))
            says = f"{each.ratio:.2f} × ({_short(each.value)} {each.unit})".replace(" )", ")")
            bars.append(Bar(f"{each.bench}: {each.what}", each.ratio, *ends, says, each.ratio >= 1))
    return draw("How often each goal is reached (the line is the goal)", bars, mark=1.0, most=4.0)


def draw(title: str, bars: Sequence[Bar], *, mark: float | None = None, most: float | None = None) -> str:
    """Draw bars as an SVG; what is longer than ``most`` is cut there."""
    longest = max([each.most for each in bars] + [mark or 0.0])
    scale = (WIDTH - LABEL - 150) / min(longest, most or longest)
    height = TOP + len(bars) * (BAR + GAP) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/><text x="10" y="20" font-size="14" '
        f'font-weight="bold">{escape(title)}</text>'
    ]
    for number, each in enumerate(bars):
        y = TOP + number * (BAR + GAP)
        left, right, end = (LABEL + min(at, most or at) * scale for at in (each.least, each.most, each.value))
        lines.append(
            f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(each.name)}</text>'
            f'<rect x="{LABEL}" y="{y}" width="{end - LABEL:.1f}" height="{BAR}" fill="{COLOURS[each.well]}"/>'
            f'<path d="M{left:.1f} {y + 8}H{right:.1f}" stroke="#111"/>'
            f'<text x="{max(right, end) + 6:.1f}" y="{y + 12}">{escape(each.says)}</text>'
        )
    if mark is not None:
        x = LABEL + mark * scale
        lines.append(f'<path d="M{x:.1f} {TOP - 6}V{height - 8}" stroke="#111" stroke-dasharray="4 3"/>')
    return "\n".join([*lines, "</svg>", ""])


def _ratio(figure: Figure, value: float) -> float:
    assert figure.goal
    return figure.goal / value if figure.less_is_better and value else value / figure.goal


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
