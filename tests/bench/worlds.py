"""20,000 simulated worlds in which everything goes wrong, and the goodput that a loss every half hour leaves."""

import subprocess
import sys


def main() -> int:
    """Run both; return the worse exit code."""
    commands = ("tests.simulation", "tests.simulation.goodput")
    return max(subprocess.run([sys.executable, "-m", command]).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main())
