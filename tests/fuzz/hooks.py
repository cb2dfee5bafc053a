"""What schemathesis does beside its own: requests are about real things, and refusals by rules of ours are no faults.

Loaded by schemathesis (``SCHEMATHESIS_HOOKS``). Of the requests that fit the description three in four are about things
that exist, the others about the ids schemathesis made up. ``WOODSHED_FUZZ`` names the folder of ``things.json``, where
``seen.json`` is left: how often each operation gave which status.
"""

import atexit
import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import schemathesis

from tests.fuzz.rules import is_ours
from tests.fuzz.things import BODIES, PATHS, Api, Ids, query_of

FOLDER = Path(os.environ["WOODSHED_FUZZ"])
GIVEN = json.loads((FOLDER / "things.json").read_text())
IDS: Ids = GIVEN["ids"]
API = Api(GIVEN["url"], GIVEN["key"], GIVEN["hook"])
DEAR = ("createChatCompletion", "askFineTunedModel")
"""Operations that take as long as they are asked to: replies of a model, which are kept short."""
MADE_UP = 4
"""One request in so many keeps the ids that were made up for it."""

calls: Counter[str] = Counter()
seen: dict[str, Counter[int]] = defaultdict(Counter)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Let a request be about something real."""
    name = name_of(case)
    calls[name] += 1
    if calls[name] % MADE_UP == 0 and name not in DEAR:
        _spare(case, name)
    else:
        _name(case, name)
        _fit(case, name)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Note what was answered."""
    seen[name_of(case)][response.status_code] += 1


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Drop what is a rule of ours that no description can say."""
    return not is_ours(type(failure).__name__, name_of(case), case, response)


@atexit.register
def tell() -> None:
    """Leave what was seen."""
    (FOLDER / "seen.json").write_text(json.dumps(seen))


def name_of(case: Any) -> str:
    """Return an operation as our description names it."""
    return str(case.operation.definition.raw["operationId"])


def _fits(case: Any) -> bool:
    return case.meta is None or case.meta.generation.mode.is_positive


def _name(case: Any, name: str) -> None:
    """Put real ids into the path, unless what is in it is wrong on purpose."""
    if not case.path_parameters:
        return
    real = IDS | (PATHS[name](API, IDS) if name in PATHS else {})
    case.path_parameters = {each: real.get(each, value) for each, value in case.path_parameters.items()}
    if name == "downloadByLink" and _fits(case):
        case.query = dict(case.query or {}) | query_of(IDS)


def _spare(case: Any, name: str) -> None:
    """Keep what stands from calls that would use it up: schemathesis reads its ids in answers."""
    if name in PATHS and set((case.path_parameters or {}).values()) & set(IDS.values()):
        _name(case, name)


def _fit(case: Any, name: str) -> None:
    """Say in a body what only the platform knows; what the description does not ask for stays out."""
    if name in BODIES and _fits(case) and isinstance(case.body, dict):
        real = BODIES[name](API, IDS, case.path_parameters)
        case.body = case.body | {key: value for key, value in real.items() if value is not None or key in case.body}
