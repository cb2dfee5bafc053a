"""A run's figures by step as the CSV that OpenAI's guide describes, ours in the columns after.

It names step, train_loss, train_accuracy, valid_loss and valid_mean_token_accuracy; the last is not measured here.
"""

import csv
import io

OPENAIS = {"step": "step", "train_loss": "train_loss", "token_accuracy": "train_accuracy", "eval_loss": "valid_loss"}
"""The run's columns that OpenAI's clients know, with the names they know them by."""


def as_result(curve: str) -> str:
    """Return a run's ``metrics.csv`` with OpenAI's columns first; what the run did not write is not made up."""
    rows = csv.DictReader(io.StringIO(curve))
    known = [name for name in OPENAIS if name in (rows.fieldnames or ())]
    others = [name for name in rows.fieldnames or () if name not in OPENAIS]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*(OPENAIS[name] for name in known), *others])
    table.writerows([row[name] for name in (*known, *others)] for row in rows)
    return text.getvalue()
