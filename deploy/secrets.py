"""Makes what docker-compose.yml needs once: passwords, the broker's configuration, one environment file a service.

    python -m deploy.secrets [FOLDER]        (default: .woodshed/compose)

Each service's file holds its own passwords and nobody else's. Safe to repeat: passwords stay, the files are
written again for this version.
"""

import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

from contracts.catalogue import SERVICES
from deploy.provision import DATABASE
from libs.bus.permissions import RUNNER
from libs.embedded.home import Home
from libs.embedded.nats import content
from libs.embedded.postgres import SUPERUSER
from libs.settings import HOME

FOLDER = HOME / "compose"
NATS = "nats://nats:4222"
TENANT = "studio"


def files(secrets: dict[str, str]) -> dict[str, str]:
    """Return every file by name; hosts are the names docker-compose.yml gives."""
    written = {f"{service}.env": _environment(of_service(service, secrets)) for service in (*SERVICES, RUNNER)}
    return written | {
        "nats.conf": content("0.0.0.0:4222", Path("/data"), secrets, monitor="127.0.0.1:8222"),
        "postgres.env": _environment({"POSTGRES_USER": SUPERUSER, "POSTGRES_PASSWORD": secrets["postgres"]}),
        "provision.env": _environment(of_provision(secrets)),
    }


def of_service(service: str, secrets: dict[str, str]) -> dict[str, str]:
    """Return the variables of one service; the runner gets no database."""
    told = {"WOODSHED_NATS_URL": NATS, "WOODSHED_NATS_USER": service, "WOODSHED_NATS_PASSWORD": secrets[service]}
    if service != RUNNER:
        told["WOODSHED_DATABASE_URL"] = _database(f"woodshed_{service}", secrets[service], DATABASE)
    if service == "gateway":
        told |= {"WOODSHED_GATEWAY_KEY_PEPPER": secrets["pepper"], "WOODSHED_GATEWAY_TENANT": TENANT}
    if service in ("gateway", "notifier"):
        told["WOODSHED_SIGNING_KEY"] = secrets["signing"]
    return told


def of_provision(secrets: dict[str, str]) -> dict[str, str]:
    """Return the variables of the one-shot container that creates roles, tables and streams."""
    return {
        "WOODSHED_NATS_URL": NATS,
        "WOODSHED_ADMIN_DATABASE_URL": _database(SUPERUSER, secrets["postgres"], "postgres"),
        "WOODSHED_AUDITOR_DATABASE_URL": _database("woodshed_auditor", secrets["auditor"], DATABASE),
        "WOODSHED_GATEWAY_DATABASE_URL": _database("woodshed_gateway", secrets["gateway"], DATABASE),
        "WOODSHED_SECRETS": "/run/secrets/woodshed.json",
    }


def write(folder: Path) -> None:
    """Write the files, readable by the owner alone."""
    secrets = Home(folder).secrets()
    for name, text in files(secrets).items():
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)


def _database(role: str, password: str, database: str) -> str:
    return f"postgresql://{role}:{quote(password)}@postgres:5432/{database}"


def _environment(variables: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def main() -> None:
    """Read the folder from the command line and write."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    write(folder)
    print(json.dumps({"folder": str(folder), "files": sorted(files(Home(folder).secrets()))}))


if __name__ == "__main__":
    main()
