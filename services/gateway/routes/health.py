"""Whether the gateway lives, whether it can work, what it counted, and where its API is described."""

from pathlib import Path

from litestar import MediaType, Response, Router, get
from litestar.static_files import create_static_files_router
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.gateway.dependencies import Db, TheBus, TheHub

STATIC = Path(__file__).resolve().parent.parent / "static"

PAGE_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'"


@get("/health/live", operation_id="live", summary="Does the process answer?", media_type=MediaType.TEXT)
async def live() -> str:
    """Say that the process answers."""
    return "alive\n"


@get("/health/ready", operation_id="ready", summary="Can it work?", media_type=MediaType.TEXT)
async def ready(db: Db, bus: TheBus, hub: TheHub) -> Response[str]:
    """Say whether the database and the broker can be reached."""
    missing = [] if bus.connected and hub.ready.is_set() else ["nats"]
    try:
        async with db.across_tenants() as tx:
            await tx.fetchval("SELECT 1")
    except Exception as error:
        missing.append(f"postgresql ({type(error).__name__})")
    if missing:
        return Response(f"no connection to {' and '.join(missing)}\n", status_code=503)
    return Response("ready\n")


@get("/metrics", operation_id="metrics", summary="Prometheus metrics", media_type=CONTENT_TYPE_LATEST)
async def metrics() -> bytes:
    """Send what was counted, for Prometheus."""
    return generate_latest()


@get("/docs", include_in_schema=False, media_type=MediaType.HTML)
async def docs() -> Response[bytes]:
    """Send the page that shows the API; it asks nothing of the outside."""
    return Response((STATIC / "docs.html").read_bytes(), headers={"Content-Security-Policy": PAGE_POLICY})


static = create_static_files_router(
    path="/static", directories=[STATIC], include_in_schema=False, opt={"exclude_from_auth": True}
)

router = Router(
    "/",
    route_handlers=[live, ready, metrics, docs, static],
    tags=["Health"],
    opt={"exclude_from_auth": True},
    security=[{}],
)
