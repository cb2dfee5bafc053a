"""The machines that train: asked of the trainer, which alone knows them."""

from typing import Literal

from litestar import get
from msgspec import Struct

from contracts.machines import Device, ListMachines, Machines
from services.gateway.dependencies import TheBus, TheCaller
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.questions import ask


class MachineList(Struct, kw_only=True):
    """Devices by runner. ``coming`` machines were asked for and have not been heard of yet."""

    data: list[Device]
    coming: int
    object: Literal["list"] = "list"


@get(
    "/v1/machines",
    operation_id="listMachines",
    opt=needs("machines.read"),
    summary="List what trains",
    tags=["Machines"],
    responses=documented(503),
)
async def list_machines(caller: TheCaller, bus: TheBus) -> MachineList:
    """List the devices that are there, how long ago their runner was heard, and which jobs of yours train on them."""
    found = await ask(bus, ListMachines(tenant=caller.tenant), Machines)
    return MachineList(data=list(found.devices), coming=found.coming)
