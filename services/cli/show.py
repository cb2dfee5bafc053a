"""How things look in a terminal: problems, datasets, examples, estimates, jobs, reports.

Words of customers are printed as text, never as markup, and without control characters: a file cannot
colour, move or retitle the terminal of whoever reads it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from unicodedata import category

from msgspec import Struct
from rich.console import Group, JustifyMethod, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from contracts.datasets import DatasetPreview, PreviewedExample
from contracts.jobs import Estimate
from services.cli.errors import CliError, Refused

Json = dict[str, Any]
SHOWN_PROBLEMS = 20
SHOWN_RESEMBLANCES = 5

STATE_STYLES = {
    "succeeded": "green", "ready": "green", "failed": "red", "refused": "red", "cancelled": "yellow", "running": "cyan",
    "pausing": "yellow", "paused": "yellow",
}  # fmt: skip
LEVEL_STYLES = {"warn": "yellow", "error": "bold red"}


def clean(text: object) -> str:
    """Return text without what steers a terminal; line ends, tabs and every kind of space stay."""
    return "".join(
        each if each.isprintable() or each in "\n\t" or category(each) == "Zs" else "�" for each in str(text)
    )


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """Return a table with these headings; those in ``right`` hold figures. The first is never broken: it holds ids."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        justify: JustifyMethod = "right" if name in right else "left"
        made.add_column(name, justify=justify, overflow="fold", no_wrap=number == 0)
    return made


def error(wrong: CliError) -> RenderableType:
    """Show what went wrong, then what to do."""
    said = Text(clean(wrong))
    if not isinstance(wrong, Refused):
        return Text.assemble(("Error: ", "bold red"), said)
    problem = wrong.problem
    lines = [Text.assemble(("Refused: ", "bold red"), said)]
    if problem.field:
        lines.append(Text(f"  field     {clean(problem.field)}"))
    if problem.fix:
        lines.append(Text(f"  do this   {clean(problem.fix)}"))
    if problem.status >= 500 and problem.trace_id:
        lines.append(Text(f"  trace     {problem.trace_id}", style="dim"))
    return Group(*lines)


def problems(found: Sequence[Json], count: int) -> RenderableType:
    """Show what is wrong with a file, line by line: where, what, how to mend it."""
    rows = table("line", "field", "what is wrong", "how to mend it", right=["line"])
    for each in found[:SHOWN_PROBLEMS]:
        style = "red" if each.get("severity") == "error" else "yellow"
        line = f"{each['line']:,}" if each["line"] else "all"
        rows.add_row(line, clean(each.get("field", "")), Text(clean(each["message"]), style=style), clean(each["fix"]))
    more = count - min(len(found), SHOWN_PROBLEMS)
    return Group(rows, Text(f"… and {more:,} more", style="dim")) if more > 0 else rows


def dataset(found: Json) -> RenderableType:
    """Show a dataset: its state, its figures, and what was left out."""
    state = found["state"]
    title = ("Dataset ", found["id"], "  ", (state, STATE_STYLES.get(state, "")), f"  {clean(found['filename'])}")
    parts: list[RenderableType] = [Text.assemble(*title)]
    if figures := found.get("figures"):
        parts.append(_figures(found["format"], figures))
    if found.get("error"):
        parts.append(Text(clean(found["error"]["message"]), style="red"))
    if found["problem_count"]:
        parts += [Text(""), problems(found["problems"], found["problem_count"])]
    return Group(*parts)


def _figures(format: str, figures: Json) -> RenderableType:
    rows = table("", "")
    trained, validated, tested = (figures[f"{split}_examples"] for split in ("train", "validation", "test"))
    rows.add_row("format", clean(format))
    rows.add_row("examples", f"{trained:,} to train on, {validated:,} to validate, {tested:,} to test")
    rows.add_row("tokens", f"{figures['train_tokens']:,} to read, {figures['trained_tokens']:,} of them to say")
    if figures.get("truncated"):
        rows.add_row("shortened", f"{figures['truncated']:,} examples are longer than the model may read")
    for each in figures.get("dropped", ()):
        rows.add_row("left out", f"{each['count']:,} × {clean(each['reason']).replace('_', ' ')}")
        for one in each.get("resembling", ())[:SHOWN_RESEMBLANCES]:
            rows.add_row("", f"line {one['line']:,} is {one['similarity']:.0%} the same as line {one['resembles']:,}")
    rows.add_row("version", f"sha256 {figures['digest']}")
    rows.show_header = False
    return rows


def preview(found: DatasetPreview) -> RenderableType:
    """Show examples exactly as the model reads them; what it learns to say is green and underlined.

    Of a pair the reply it learns to avoid stands below, in red.
    """
    return Group(*(_example(number, each) for number, each in enumerate(found.examples, 1)))


def _example(number: int, example: PreviewedExample) -> RenderableType:
    text = Text()
    for piece in example.pieces:
        text.append(clean(piece.text), style="green underline" if piece.trained else "dim")
    if example.rejected:
        text.append("\nrather than\n", style="bold")
        text.append("".join(clean(piece.text) for piece in example.rejected if piece.trained), style="red")
    counts = f"{example.tokens:,} tokens, {example.trained_tokens:,} of them trained (green, underlined)"
    title = f"example {number} · {counts}"
    return Panel(text, title=title, title_align="left", border_style="dim")


def estimate(found: Estimate) -> RenderableType:
    """Show what a job will take, each figure with its interval where it has one."""
    rows = table("", "")
    rows.show_header = False
    between = f"{duration(found.seconds_low)} to {duration(found.seconds_high)}"
    rows.add_row("time", f"{duration(found.seconds)} of training ({between} for nine in ten)")
    rows.add_row("steps", f"{found.steps:,} over {found.tokens:,} tokens")
    rows.add_row("memory", size(found.memory_bytes))
    rows.add_row("cost", f"{found.cost:.2f} {clean(found.currency)}")
    for note in found.notes:
        rows.add_row("note", clean(note))
    return rows


def jobs(found: Sequence[Json]) -> RenderableType:
    """List jobs."""
    rows = table("job", "name", "status", "stage", "preset", "made", "model")
    for each in found:
        ours = each["woodshed"]
        status = Text(each["status"], style=STATE_STYLES.get(each["status"], ""))
        made, model = moment(each["created_at"]), clean(each["fine_tuned_model"] or "")
        rows.add_row(each["id"], clean(ours["suffix"]), status, ours["stage"], ours["preset"], made, model)
    return rows


def job(found: Json) -> RenderableType:
    """Show one job whole."""
    ours = found["woodshed"]
    rows = table("", "")
    rows.show_header = False
    rows.add_row("job", found["id"])
    rows.add_row("status", Text(f"{found['status']} ({ours['stage']})", style=STATE_STYLES.get(found["status"], "")))
    rows.add_row("made", moment(found["created_at"]))
    rows.add_row("base model", clean(found["model"]))
    rows.add_row("preset", f"{ours['preset']}, priority {ours['priority']}")
    rows.add_row("dataset", ours["dataset"])
    for name, value in _outcome(found, ours):
        rows.add_row(name, clean(value))
    return Group(rows, Text(""), failure(found)) if found["error"] else rows


def _outcome(found: Json, ours: Json) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    if progress := ours["progress"]:
        rows.append(("step", f"{progress['step']:,} of {progress['total_steps']:,}, loss {progress['loss']:.3f}"))
    if ours["interruptions"]:
        steps = f"{ours['lost_steps']:,} step{'' if ours['lost_steps'] == 1 else 's'}"
        cost = f"{steps} lost, {duration(ours['lost_seconds'])} without training"
        rows.append(("interrupted", f"{ours['interruptions']}×, resumed, {cost}"))
    if found["fine_tuned_model"]:
        rows.append(("model", found["fine_tuned_model"]))
    if ours["seconds"] is not None:
        rows.append(("device time", duration(ours["seconds"])))
    if ours["headline"]:
        rows.append(("proof", ours["headline"]))
    if ours["retry_of"]:
        rows.append(("retry of", ours["retry_of"]))
    return rows


def failure(found: Json) -> RenderableType:
    """Show why a job failed, what mends it, and the command that does."""
    fix = found["woodshed"]["fix"]
    said = clean(found["error"]["message"]).removesuffix(clean(fix["sentence"])).strip()
    lines = [Text(said, style="bold"), Text(""), Text.assemble(("What to do: ", "bold"), clean(fix["sentence"]))]
    for name, value in (fix["settings"] or {}).items():
        lines.append(Text(f"  {clean(name)} becomes {_setting(value)}{_was(found, name)}"))
    lines += [Text(""), *(Text(each, style="cyan") for each in _commands(found, fix))]
    title = f"{clean(found['error']['code']).replace('_', ' ')}: {clean(fix['title'])}"
    return Panel(Group(*lines), title=title, title_align="left", border_style="red")


def _was(found: Json, name: str) -> str:
    before = (found["woodshed"]["recipe"] or {}).get(name)
    return "" if before is None else f" (it was {_setting(before)})"


def _commands(found: Json, fix: Json) -> list[str]:
    job, again = found["id"], found["woodshed"]["retried_as"]
    if again:
        return [f"woodshed watch {again}    the retry", f"woodshed log {job}    how every attempt ended"]
    retry = f"woodshed retry {job}{' --file MENDED' if fix['kind'] == 'change_data' else ''}"
    return [f"{retry}    shows what changes, asks, and tries again", f"woodshed log {job}    how every attempt ended"]


def changes(found: Sequence[Json]) -> RenderableType:
    """Show what a retry changes, setting by setting."""
    if not found:
        return Text("Nothing changes: the same job once more.")
    rows = table("setting", "was", "becomes", "why", right=["was", "becomes"])
    for each in found:
        old, new = Text(_setting(each["old"]), style="red"), Text(_setting(each["new"]), style="green")
        rows.add_row(clean(each["field"]).replace("_", " "), old, new, clean(each["why"]))
    return rows


def _setting(value: float | str | None) -> str:
    if value is None:
        return "auto"
    return clean(value) if isinstance(value, str) else f"{value:g}"


def story_line(event: Json) -> Text:
    """Show one line of a job's story."""
    clock = datetime.fromtimestamp(event["created_at"]).strftime("%H:%M:%S")
    return Text.assemble((f"{clock}  ", "dim"), (clean(event["message"]), LEVEL_STYLES.get(event["level"], "")))


def report(found: Json) -> RenderableType:
    """Show a report's summary: the headline, the figures, how sure it is, what to do next."""
    rows = table("", "", "")
    rows.show_header = False
    for each in found["figures"]:
        rows.add_row(clean(each["label"]), Text(clean(each["value"]), style="bold"), clean(each["means"]))
    advice = [Text(clean(found[name]), style="dim") for name in ("sureness", "advice") if found.get(name)]
    return Group(Text(clean(found["headline"]), style="bold"), Text(""), rows, Text(""), *advice)


def replies(prompt: str, base: str, tuned: str) -> RenderableType:
    """Show two answers to the same prompt side by side."""
    rows = Table(expand=True, show_lines=True, title=Text(clean(prompt)), title_justify="left", title_style="italic")
    rows.add_column("base model", ratio=1)
    rows.add_column("your model", ratio=1, style="green")
    rows.add_row(Text(clean(base)), Text(clean(tuned)))
    return rows


class Unit(Struct, frozen=True):
    """A unit of information and how many bytes it has."""

    name: str
    bytes: int


UNITS = (Unit("GB", 10**9), Unit("MB", 10**6), Unit("kB", 10**3))


def size(count: int) -> str:
    """Return a size with the unit that suits it."""
    unit = next((each for each in UNITS if count >= each.bytes), None)
    return f"{count / unit.bytes:.1f} {unit.name}" if unit else f"{count} bytes"


def duration(seconds: float) -> str:
    """Return a duration the way people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def moment(at: int) -> str:
    """Return seconds since 1970 as local date and time."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")
