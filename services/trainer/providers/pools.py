"""The machines an operator allows to be started or rented: one table of a TOML file for each pool.

A pool says where its machines come from (``provider``), how many there may be, and what they cost. The how-to of
each provider explains its keys.
"""

import re
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from libs.errors import Rejected

Dollars = Annotated[float, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Number = Annotated[int, Meta(ge=0, le=1000)]
GUIDE = "docs/how-to/rent-machines.md explains each key."
CODE = "bad_pools"
SECRET = re.compile(r"\{\{ ?RUNPOD_SECRET_\w+ ?\}\}")
TELLING = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY")


class Pool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="provider"):
    """How many machines, for how long.

    ``least`` are always kept, up to ``most`` while work waits longer than ``patience_seconds``; one idle for
    ``idle_seconds`` is given back, and one whose runner has not dialled in after ``boot_seconds`` is replaced.
    ``price`` is of one machine and hour, and ``devices`` is how many it brings.
    """

    least: Number = 0
    most: Number = 1
    devices: Annotated[int, Meta(ge=1, le=64)] = 1
    price: Dollars = 0.0
    patience_seconds: Seconds = 10.0
    idle_seconds: Seconds = 600.0
    boot_seconds: Annotated[float, Meta(gt=0)] = 900.0
    grace_seconds: Seconds = 30.0
    look_seconds: Annotated[float, Meta(gt=0)] = 5.0


class LocalPool(Pool, frozen=True, kw_only=True, tag="local"):
    """Runners as processes of this host; ``environment`` is a file of what they are told, as ``runner.env``."""

    environment: str


class SpotPool(Pool, frozen=True, kw_only=True, tag="spot"):
    """Such runners, taken away after ``lifetime`` (from, to) seconds with ``notice_seconds`` to leave.

    The lifetimes follow from ``seed``; after ``preemptions`` of them machines stay.
    """

    environment: str
    seed: int = 0
    lifetime: tuple[float, float] = (60.0, 600.0)
    notice_seconds: Seconds = 30.0
    preemptions: Number = 1000


class KubernetesPool(Pool, frozen=True, kw_only=True, tag="kubernetes"):
    """Jobs of a cluster, queued by Kueue's local queue ``queue``; ``secret`` holds the runner's environment."""

    namespace: str
    queue: str
    image: str
    secret: str
    resource: str = "nvidia.com/gpu"
    cpu: str = "4"
    memory: str = "16Gi"
    server: str = "https://kubernetes.default.svc"
    token_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    ca_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"


class RunPodPool(Pool, frozen=True, kw_only=True, tag="runpod"):
    """Pods of RunPod: the cheapest available of ``gpus`` that costs at most ``price`` an hour, all its GPUs together.

    Passwords in ``environment`` are references to RunPod's secrets, so no request or answer carries one.
    """

    gpus: Annotated[tuple[str, ...], Meta(min_length=1)]
    image: str
    environment: dict[str, str]
    price: Annotated[float, Meta(gt=0)]
    cloud: str = "SECURE"
    disk: int = 30
    registry: str = ""
    server: str = "https://api.runpod.io"


AnyPool = LocalPool | SpotPool | KubernetesPool | RunPodPool
PoolName = Annotated[str, Meta(pattern=r"^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$")]


def read(path: str) -> dict[str, AnyPool]:
    """Read the pools in the order of the file, the preferred one first; ``Rejected`` names what does not fit."""
    if not path:
        return {}
    try:
        pools = msgspec.toml.decode(Path(path).read_bytes(), type=dict[PoolName, AnyPool])
    except OSError as error:
        raise Rejected(f"The pools of machines in {path} cannot be read: {error.strerror}.", code=CODE) from error
    except msgspec.DecodeError as error:
        raise Rejected(f"A pool in {path} does not fit: {error}. {GUIDE}", code=CODE) from error
    for name, pool in pools.items():
        _check(name, pool)
    return pools


def _check(name: str, pool: AnyPool) -> None:
    if pool.least > pool.most:
        raise Rejected(f"The pool {name} keeps at least {pool.least} machines and at most {pool.most}.", code=CODE)
    if isinstance(pool, RunPodPool):
        plain = [key for key, value in pool.environment.items() if TELLING.search(key) and not SECRET.fullmatch(value)]
        if plain:
            raise Rejected(
                f"The pool {name} spells out {', '.join(plain)}, and whoever may read its pods could read it. "
                "Keep it as a secret of RunPod and write {{ RUNPOD_SECRET_its_name }}.",
                code=CODE,
            )
