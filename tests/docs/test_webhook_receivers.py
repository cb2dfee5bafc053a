"""The receivers that the page about webhooks shows verify what the notifier sends, and nothing else."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.signing import webhook_secret
from services.notifier.domain.webhooks import headers, sample

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/webhooks.md").read_text()
KEY = "a signing key of at least thirty-two characters"
OLD, NEW = (webhook_secret(KEY, "wh-1", number) for number in (1, 2))
NODE = """
const cases = {cases};
console.log(JSON.stringify(cases.map((each) => verified(...each))));
"""
PHP = """
$cases = json_decode('{cases}', true);
echo json_encode(array_map(fn($each) => verified(...$each), $cases));
"""
RUN = {"node": ("js", ["node", "-e"], NODE), "php": ("php", ["php", "-r"], PHP)}


def cases() -> list[tuple[str, dict[str, str], str]]:
    at = datetime.now(UTC)
    body = sample("fine_tuning.job.succeeded", "evt_1", at).body
    signed = headers("evt_1", body, at, [NEW, OLD], hex_signature=False)
    late = headers("evt_1", body, at - timedelta(minutes=6), [NEW], hex_signature=False)
    forged = body.replace("ftjob-sample", "ftjob-another")
    return [
        (body, signed, NEW),
        (body, signed, OLD),
        (forged, signed, NEW),
        (body, late, NEW),
        (body, signed, webhook_secret(KEY, "wh-2", 1)),
    ]


@pytest.mark.parametrize("program", RUN)
def test_a_receiver_of_the_page_takes_what_is_signed_and_refuses_what_is_forged_or_old(program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not on this machine")
    language, command, ending = RUN[program]
    [shown] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    script = shown + ending.replace("{cases}", json.dumps(cases()))
    done = subprocess.run([*command, script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [True, True, False, False, False]
