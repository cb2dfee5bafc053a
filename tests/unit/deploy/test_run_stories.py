"""Which stories of a run are sound: the fence each write was made under, and the steps an adapter consists of."""

import msgspec
import pytest

from contracts.base import Event, type_of
from contracts.generate import HERE
from contracts.runs import CheckpointCommitted, LeaseGranted, RunFinished, RunInterrupted, RunPaused, RunRecovered
from deploy.invariants.looking import Look, Told
from deploy.invariants.runs import fenced, tiled

Step = tuple[type[Event], int, int]

GRANT, SAVE, LOSE, REST = LeaseGranted, CheckpointCommitted, RunInterrupted, RunPaused
RESUME, FINISH = RunRecovered, RunFinished


def look(*story: Step) -> Look:
    """Make a look at one run whose facts are (kind, fence, step)."""
    facts = []
    for version, (kind, fence, step) in enumerate(story, 1):
        tag = type_of(kind)
        sample = msgspec.json.decode((HERE / "samples" / f"{tag}.json").read_bytes(), type=kind)
        told = {"run_id": "run-1", "fence": fence, "step": step, "steps": step}
        event = msgspec.structs.replace(
            sample, **{name: value for name, value in told.items() if name in kind.__struct_fields__}
        )
        facts.append(
            Told(
                sequence=version,
                id=f"evt-{version}",
                kind=tag,
                teller="trainer",
                aggregate="acme.run.run-1",
                version=version,
                event=event,
            )
        )
    return Look(rows={"trainer.lease": [], "trainer.checkpoint": []}, facts=facts)


UNDISTURBED = ((GRANT, 1, 0), (SAVE, 1, 10), (SAVE, 1, 20), (FINISH, 1, 25))
RECOVERED = (
    (GRANT, 1, 0),
    (SAVE, 1, 10),
    (LOSE, 1, 10),
    (GRANT, 4, 0),
    (RESUME, 4, 10),
    (SAVE, 4, 20),
    (FINISH, 4, 25),
)
FELL_BACK = (
    (GRANT, 1, 0), (SAVE, 1, 10), (SAVE, 1, 20), (LOSE, 1, 20), (GRANT, 2, 0), (RESUME, 2, 10), (SAVE, 2, 20),
    (LOSE, 2, 20), (GRANT, 3, 0), (LOSE, 3, 20), (GRANT, 5, 0), (RESUME, 5, 20), (FINISH, 5, 25),
)  # fmt: skip
PAUSED = ((GRANT, 1, 0), (SAVE, 1, 10), (REST, 1, 10), (GRANT, 3, 0), (RESUME, 3, 10), (FINISH, 3, 25))
BEGAN_AGAIN = ((GRANT, 1, 0), (LOSE, 1, 0), (GRANT, 2, 0), (RESUME, 2, 0), (SAVE, 2, 10), (FINISH, 2, 12))


@pytest.mark.parametrize("story", [UNDISTURBED, RECOVERED, FELL_BACK, PAUSED, BEGAN_AGAIN])
def test_a_sound_story_has_no_offence(story: tuple[Step, ...]) -> None:
    assert [*fenced(look(*story)), *tiled(look(*story))] == []


UNSOUND = {
    "resumed at step 15, which nobody had committed": (
        (GRANT, 1, 0), (SAVE, 1, 10), (LOSE, 1, 10), (GRANT, 2, 0), (RESUME, 2, 15), (FINISH, 2, 25),
    ),
    "fence 2 resumed at 10 and committed steps [10, 20]": (
        (GRANT, 1, 0), (SAVE, 1, 10), (LOSE, 1, 10), (GRANT, 2, 0), (RESUME, 2, 10), (SAVE, 2, 10), (SAVE, 2, 20),
        (FINISH, 2, 25),
    ),
    "fence 1 resumed at 0 and committed steps [20, 10]": (
        (GRANT, 1, 0), (SAVE, 1, 20), (SAVE, 1, 10), (FINISH, 1, 25),
    ),
    "fence 2 never told at which step it resumed": (
        (GRANT, 1, 0), (SAVE, 1, 10), (LOSE, 1, 10), (GRANT, 2, 0), (FINISH, 2, 25),
    ),
    "resumed at step 30, behind its end 25": (
        (GRANT, 1, 0), (SAVE, 1, 30), (LOSE, 1, 30), (GRANT, 2, 0), (RESUME, 2, 30), (FINISH, 2, 25),
    ),
}  # fmt: skip


@pytest.mark.parametrize("offence", UNSOUND)
def test_steps_that_do_not_tile_are_named(offence: str) -> None:
    assert any(offence in found.what for found in tiled(look(*UNSOUND[offence])))


STALE = {
    "CheckpointCommitted under fence 1 while 2 was held": ((GRANT, 1, 0), (LOSE, 1, 0), (GRANT, 2, 0), (SAVE, 1, 10)),
    "CheckpointCommitted under fence 1 while none was held": ((GRANT, 1, 0), (LOSE, 1, 0), (SAVE, 1, 10)),
    "RunFinished under fence 1 while 2 was held": ((GRANT, 1, 0), (LOSE, 1, 0), (GRANT, 2, 0), (FINISH, 1, 25)),
    "CheckpointCommitted under fence 3 while none was held": ((GRANT, 3, 0), (REST, 3, 0), (SAVE, 3, 10)),
    "CheckpointCommitted under fence 4 while none was held": ((GRANT, 4, 0), (FINISH, 4, 25), (SAVE, 4, 10)),
    "fence 3 was granted while 2 was held": ((GRANT, 2, 0), (GRANT, 3, 0)),
    "fence 2 was granted after 2": ((GRANT, 2, 0), (LOSE, 2, 0), (GRANT, 2, 0)),
}


@pytest.mark.parametrize("offence", STALE)
def test_a_write_under_a_stale_fence_is_named(offence: str) -> None:
    assert [found.what for found in fenced(look(*STALE[offence]))] == [offence]
