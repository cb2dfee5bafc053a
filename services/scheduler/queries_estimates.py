"""The SQL of what finished runs taught about models and devices: one function, one statement."""

import msgspec

from contracts.recipes import Recipe
from libs.db import Transaction
from services.scheduler.domain.estimate import Calibration, Device, learned_as

CALIBRATION = """
    SELECT runs, log_ratio, spread, start_up, memory_ratio
      FROM scheduler.calibration
     WHERE base_model = $1 AND method = $2 AND kind = $3 AND precision = $4
"""


async def calibration(tx: Transaction, recipe: Recipe, device: Device) -> Calibration:
    """Read what runs of this model and method on this kind of device taught."""
    row = await tx.fetchrow(CALIBRATION, *learned_under(recipe, device))
    return Calibration(**row) if row else Calibration()


CALIBRATIONS = """
    SELECT base_model, method, kind, precision, runs, log_ratio, spread, start_up, memory_ratio
      FROM scheduler.calibration
"""


async def calibrations(tx: Transaction) -> dict[tuple[str, str, str, str], Calibration]:
    """Read what runs taught, as ``learned_under`` names it."""
    return {
        (model, method, kind, precision): Calibration(**dict(zip(Calibration.__struct_fields__, learned, strict=True)))
        for model, method, kind, precision, *learned in await tx.fetch(CALIBRATIONS)
    }


HOLD_CALIBRATION = """
    INSERT INTO scheduler.calibration AS known
           (base_model, method, kind, precision, runs, log_ratio, spread, start_up, memory_ratio)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (base_model, method, kind, precision) DO UPDATE SET runs = known.runs
 RETURNING runs, log_ratio, spread, start_up, memory_ratio
"""


async def hold_calibration(tx: Transaction, recipe: Recipe, device: Device) -> Calibration:
    """Read and lock a calibration, so that two runs that finish together are both learned from."""
    [row] = await tx.fetch(HOLD_CALIBRATION, *learned_under(recipe, device), *msgspec.structs.astuple(Calibration()))
    return Calibration(**row)


KEEP_CALIBRATION = """
    UPDATE scheduler.calibration
       SET runs = $5, log_ratio = $6, spread = $7, start_up = $8, memory_ratio = $9
     WHERE base_model = $1 AND method = $2 AND kind = $3 AND precision = $4
"""


async def keep_calibration(tx: Transaction, recipe: Recipe, device: Device, learned: Calibration) -> None:
    """Write a locked calibration."""
    await tx.execute(KEEP_CALIBRATION, *learned_under(recipe, device), *msgspec.structs.astuple(learned))


def learned_under(recipe: Recipe, device: Device) -> tuple[str, str, str, str]:
    """Return what a calibration is kept under: model, method, kind of device and precision."""
    return recipe.base_model, learned_as(recipe), device.kind, device.precision
