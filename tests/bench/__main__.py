"""Every benchmark, one after another: ``make bench``. Each prints what it measured; nothing here passes or fails."""

import subprocess
import sys

BENCHES = (
    "training",
    "fact_latency",
    "gateway",
    "import_lessons",
    "overhead",
    "leases",
    "dispatch",
    "worlds",
    "chat",
    "evaluation",
)


def main() -> int:
    """Run each in a process of its own, so that none warms another's caches; return the worst exit code."""
    worst = 0
    for name in BENCHES:
        print(f"\n== {name}", flush=True)
        worst = max(worst, subprocess.run([sys.executable, "-m", f"tests.bench.{name}"]).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
