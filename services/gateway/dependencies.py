"""What routes are given by name: the caller, the request's transaction, and the service's parts."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.di import NamedDependency, Provide

from libs.bus import Bus
from libs.db import Database, Transaction
from libs.service import Platform
from libs.storage import Storage
from services.gateway.admitting import Doorkeeper
from services.gateway.auth import Caller
from services.gateway.limiting import Limiter
from services.gateway.live import Hub
from services.gateway.settings import Settings
from services.gateway.signing import Signing

Tx = NamedDependency[Transaction]
Db = NamedDependency[Database]
TheBus = NamedDependency[Bus]
TheStorage = NamedDependency[Storage]
TheHub = NamedDependency[Hub]
TheSettings = NamedDependency[Settings]
TheCaller = NamedDependency[Caller]
TheLimiter = NamedDependency[Limiter]
TheSigning = NamedDependency[Signing]
TheDoorkeeper = NamedDependency[Doorkeeper]


def provided(
    settings: Settings, platform: Platform, hub: Hub, limiter: Limiter, signing: Signing, doorkeeper: Doorkeeper
) -> dict[str, Provide]:
    """Return what handlers may ask for; ``tx`` is the caller's transaction, committed before the answer is sent."""

    def given_settings() -> Settings:
        return settings

    def given_db() -> Database:
        return platform.db

    def given_bus() -> Bus:
        return platform.bus

    def given_storage() -> Storage:
        return platform.storage

    def given_hub() -> Hub:
        return hub

    def given_limiter() -> Limiter:
        return limiter

    def given_signing() -> Signing:
        return signing

    def given_doorkeeper() -> Doorkeeper:
        return doorkeeper

    def caller(request: Request[Any, Any, Any]) -> Caller:
        who: Caller = request.user
        return who

    async def tx(db: Db, caller: TheCaller) -> AsyncIterator[Transaction]:
        async with db.transaction(caller.tenant) as transaction:
            yield transaction

    return {
        "settings": Provide(given_settings, sync_to_thread=False),
        "db": Provide(given_db, sync_to_thread=False),
        "bus": Provide(given_bus, sync_to_thread=False),
        "storage": Provide(given_storage, sync_to_thread=False),
        "hub": Provide(given_hub, sync_to_thread=False),
        "limiter": Provide(given_limiter, sync_to_thread=False),
        "signing": Provide(given_signing, sync_to_thread=False),
        "doorkeeper": Provide(given_doorkeeper, sync_to_thread=False),
        "caller": Provide(caller, sync_to_thread=False),
        "tx": Provide(tx),
    }
