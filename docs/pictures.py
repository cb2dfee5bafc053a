"""Draws the pictures of notices and of the page for invitations: ``python -m docs.pictures CHROMIUM``.

The mail and the page are the HTML that is sent. Slack's own drawing is not ours to run: its picture shows the blocks of
the message that is posted, each by its kind and with nothing added. The jobs are examples, and so are their figures.
"""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from contracts.base import Event
from contracts.jobs import JobFailed, JobSucceeded, Remedy
from services.gateway.page import form
from services.gateway.routes.health import STATIC
from services.notifier.domain.blocks import message
from services.notifier.domain.mail import page
from services.notifier.domain.notice import Notice, Surroundings, notice_of

HERE = Surroundings("https://woodshed.studio.example", "USD")
FOLDER = Path(__file__).parent / "how-to" / "pictures"
JOB = "ftjob-06gzv3dyn3fsnpdvjr1q6e0c"
STYLE = """
body{margin:0;padding:20px 24px;font:15px/1.47 Lato,'Helvetica Neue',Arial,sans-serif;color:#1d1c1d;background:#fff}
.app{font-weight:900}.tag{background:#e8e8e8;border-radius:2px;font-size:10px;padding:1px 3px;color:#616061}
h3{font-size:18px;line-height:1.3;margin:10px 0 8px}.section{margin:6px 0}.fields{display:flex;gap:16px;margin:4px 0}
.fields div{width:50%}.context{color:#616061;font-size:12px;margin-top:8px}a{color:#1264a3;text-decoration:none}
"""


def main() -> None:
    """Write every picture."""
    done, failed = notice_of(_finished(), HERE), notice_of(_failed(), HERE)
    FOLDER.mkdir(exist_ok=True)
    for name, html, size in (
        ("notice-by-mail.png", page(done), "640,530"),
        ("notice-in-slack.png", _slack(failed), "640,330"),
        ("invitation.png", form(invitation="…"), "640,660"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "static").symlink_to(STATIC)
            file = Path(folder) / "page.html"
            file.write_text(html)
            options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}"]
            subprocess.run([sys.argv[1], *options, f"--screenshot={FOLDER / name}", file.as_uri()], check=True)


def _slack(notice: Notice) -> str:
    blocks = "".join(_block(each) for each in message(notice)["blocks"])
    head = '<span class="app">Woodshed</span> <span class="tag">APP</span>'
    return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{head}{blocks}'


def _block(block: dict[str, Any]) -> str:
    match block["type"]:
        case "header":
            return f"<h3>{_text(block['text'])}</h3>"
        case "context":
            return f'<div class="context">{"".join(map(_text, block["elements"]))}</div>'
        case "section" if "fields" in block:
            return '<div class="fields">' + "".join(f"<div>{_text(each)}</div>" for each in block["fields"]) + "</div>"
        case "section":
            return f'<div class="section">{_text(block["text"])}</div>'
    raise ValueError(f"A block of kind {block['type']} has no drawing yet.")


def _text(text: dict[str, Any]) -> str:
    """Draw plain text as it is, and of Slack's markup what notices use: bold, and a link alone on its line."""
    said: str = text["text"]
    if text["type"] == "plain_text":
        return escape(said)
    bold = said.startswith("*") and said.endswith("*")
    said = said.strip("*") if bold else said
    if said.startswith("<") and "|" in said:
        address, label = said.strip("<>").split("|")
        said = f'<a href="{address}">{label}</a>'
    return f"<b>{said}</b>" if bold else said


def _finished() -> Event:
    return JobSucceeded(
        tenant="studio",
        at=datetime.now(UTC),
        job_id=JOB,
        run_id="run-1",
        model="ft:SmolLM2-135M-Instruct:studio:coach:jr1q6e0c",
        trained_tokens=148_220,
        seconds=2_460.0,
        cost=0.04,
        interruptions=2,
    )


def _failed() -> Event:
    sentence = "Train with a shorter max_length (512): most of your conversations are shorter than that."
    return JobFailed(
        tenant="studio", at=datetime.now(UTC), job_id=JOB, reason="out_of_memory", fix=sentence,
        message="The device ran out of memory at step 12, even after the forward pass was halved twice.",
        remedy=Remedy(kind="change_settings", title="Train with shorter conversations", sentence=sentence),
    )  # fmt: skip


if __name__ == "__main__":
    main()
