"""An attempt whose control is away when it begins: what it tells late is what was true then. The child pretends."""

import asyncio
from pathlib import Path
from typing import cast

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.lm.models import RECORD
from libs.storage import Storage
from services.trainer.line import Launch, Reached, SavedBefore, Uploaded, What
from services.trainer.runner.attempt import Attempt
from services.trainer.runner.reporting import Reporter
from services.trainer.training.protocol import Progressed
from tests.faults.pretend import command
from tests.integration.trainer.stand_in_runner import device
from tests.integration.trainer.test_runs import store_dataset

STEPS = 12


class Away:
    """A control that answers nothing from loading on before it has seen the child take all its steps."""

    def __init__(self) -> None:
        self.told: list[What] = []
        self.trained = asyncio.Event()

    async def tell(self, what: What) -> None:
        if isinstance(what, Reached) and what.stage == "loading_model":
            await self.trained.wait()
        self.told.append(what)

    async def show(self, seen: Progressed) -> None:
        if seen.step >= STEPS:
            self.trained.set()


async def test_a_resumed_attempt_tells_the_step_it_resumed_from_however_late(tmp_path: Path) -> None:
    storage = Storage.open(f"file://{tmp_path / 'storage'}")
    (tmp_path / "models" / SHIPPED_MODEL).mkdir(parents=True)
    (tmp_path / "models" / SHIPPED_MODEL / RECORD).touch()
    dataset = await store_dataset(storage, tmp_path)
    first = Away()
    await attempt(first, 1, storage, tmp_path, dataset, ()).carry_out()
    saved = next(what for what in first.told if isinstance(what, Uploaded))
    second = Away()
    before = SavedBefore(step=saved.step, uri=saved.uri, sha256=saved.sha256)
    await attempt(second, 2, storage, tmp_path, dataset, (before,)).carry_out()
    (training,) = (what for what in second.told if isinstance(what, Reached) and what.stage == "training")
    assert training.step == saved.step < STEPS


def attempt(
    control: Away, fence: int, storage: Storage, folder: Path, dataset: tuple[str, str], saved: tuple[SavedBefore, ...]
) -> Attempt:
    recipe = Recipe(base_model=SHIPPED_MODEL, max_steps=STEPS)
    launch = Launch(
        tenant="acme", run_id="run-1", job_id="job-1", attempt=fence, fence=fence, device_id="bench-cpu0",
        recipe=recipe, dataset_uri=dataset[0], dataset_digest=dataset[1], checkpoint_every=5, micro_tokens=256,
        checkpoints=saved,
    )  # fmt: skip
    return Attempt(
        launch,
        device("bench"),
        storage,
        cast(Reporter, control),
        command=command,
        models=folder / "models",
        folder=folder / f"fence-{fence}",
    )
