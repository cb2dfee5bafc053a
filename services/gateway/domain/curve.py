"""A run's figures by step: as the CSV of OpenAI's guide, ours in the columns after; and thinned out for drawing."""

import csv
import io

OPENAIS = {
    "step": "step",
    "train_loss": "train_loss",
    "token_accuracy": "train_accuracy",
    "eval_loss": "valid_loss",
    "eval_token_accuracy": "valid_mean_token_accuracy",
}
"""The run's columns that OpenAI's clients know, with the names they know them by."""


POINTS = 2000
"""About as many points as a wide screen can show."""
FEW_SPANS = 8
"""So long a run is drawn step by step."""


def spans_together(summed_up: int) -> int:
    """Return how many spans one point of a curve stands for; 0: the run is short, every step is a point."""
    return 0 if summed_up < FEW_SPANS else -(-summed_up // POINTS)


def as_result(curve: str) -> str:
    """Return a run's ``metrics.csv`` with OpenAI's columns first; what the run did not write is not made up."""
    rows = csv.DictReader(io.StringIO(curve))
    known = [name for name in OPENAIS if name in (rows.fieldnames or ())]
    others = [name for name in rows.fieldnames or () if name not in OPENAIS and name.isidentifier()]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*(OPENAIS[name] for name in known), *others])
    table.writerows([_figure(row[name]) for name in (*known, *others)] for row in rows)
    return text.getvalue()


def _figure(cell: str | None) -> str:
    """Return a cell that is a number, else none: a table program would carry out what begins with ``=``."""
    try:
        float(cell or "")
    except ValueError:
        return ""
    return cell or ""
