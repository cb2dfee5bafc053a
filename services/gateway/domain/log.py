"""A job's log as a text file: its story, and what was left of every attempt that was lost, in order of time."""

from collections.abc import Iterable

from services.gateway.domain.statuses import Row


def text_of(job: Row, story: Iterable[Row], evidence: Iterable[Row]) -> str:
    """Return the log; each line of the story and each piece of evidence begins with its time in UTC."""
    told = [(row["at"], f"{row['level']:<5} {row['message']}") for row in story]
    kept = [(row["at"], _kept(row["what"], row["evidence"])) for row in evidence]
    head = f"job {job['job_id']}\nstatus {job['status']}\nbase model {job['model']}\npreset {job['preset']}\n"
    lines = [f"{at:%Y-%m-%d %H:%M:%S.%f}Z {said}" for at, said in sorted(told + kept)]
    return "\n".join([head, *lines, ""])


def _kept(what: str, evidence: str) -> str:
    quoted = "\n".join(f"    | {line}" for line in evidence.splitlines())
    return f"attempt {what}\n{quoted}"
