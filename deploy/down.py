"""Stops what `make up` started on a folder, and waits until it is gone: ``python -m deploy.down [--home DIR]``."""

import argparse
import sys
from pathlib import Path

import psutil

from deploy.installation import holder
from libs.embedded.home import Home

PATIENCE = 60.0


def main() -> None:
    """Ask the program that holds the installation to stop."""
    parser = argparse.ArgumentParser(description="Stop a Woodshed that was started with `make up`.")
    parser.add_argument("--home", type=Path, help="its folder (default: WOODSHED_HOME, else .woodshed)")
    given = parser.parse_args().home
    home = Home(given.resolve()) if given else Home.default()
    process = holder(home)
    if process is None:
        print(f"Nothing runs on {home.folder}.")
        return
    running = psutil.Process(process)
    running.terminate()
    try:
        running.wait(PATIENCE)
    except psutil.TimeoutExpired:
        sys.exit(f"Process {process} still stops after {PATIENCE:g} s; its logs are in {home.folder / 'logs'}.")
    print(f"Stopped what ran on {home.folder}.")


if __name__ == "__main__":
    main()
