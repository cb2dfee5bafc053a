"""What a job leaves: step figures, files, report, and a word with the model."""

import csv
import io
from typing import Any, Literal

from asyncpg import Record
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET

from contracts.evaluations import AskModel, ModelReplied
from libs.db import Transaction
from libs.errors import Conflict, NotFound
from libs.storage import Storage
from services.gateway import archiving, downloads
from services.gateway.dependencies import Db, TheBus, TheCaller, TheStorage, Tx
from services.gateway.domain import deployment, shapes, wire
from services.gateway.domain.curve import spans_together
from services.gateway.domain.paging import Page, page_of
from services.gateway.domain.wishes import AskWish
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import curve as curve_queries
from services.gateway.queries import results as queries
from services.gateway.queries import story as story_queries
from services.gateway.questions import ask
from services.gateway.routes.found import the_job

REPORT_TYPES = {"pdf": "application/pdf", "html": "text/html; charset=utf-8", "json": "application/json"}


@get(
    "/{job:str}/metrics",
    operation_id="listFineTuningJobMetrics",
    opt=needs("jobs.read"),
    summary="A job's figures by step",
    responses=documented(404),
)
async def list_metrics(
    job: FromPath[str], tx: Tx, format: FromQuery[Literal["json", "csv"]] = "json"
) -> Page[wire.Metric] | Response[str]:
    """List loss, learning rate and speed by step, the first step first."""
    await the_job(tx, job)
    metrics = [shapes.metric_of(row) for row in await story_queries.metrics(tx, job)]
    if format == "csv":
        return Response(_csv(metrics), media_type="text/csv")
    return page_of(metrics, [str(each.step) for each in metrics], len(metrics))


@get(
    "/{job:str}/curve",
    operation_id="retrieveFineTuningJobCurve",
    opt=needs("jobs.read"),
    summary="A job's figures for drawing",
    description="Every step of a short run; of a long one about 2,000 points, each with the least and greatest loss.",
    responses=documented(404),
)
async def retrieve_curve(job: FromPath[str], tx: Tx) -> wire.Curve:
    """Send a loss curve that can be drawn at once, the first step first."""
    await tx.at_one_moment()
    await the_job(tx, job)
    summed_up, following = await curve_queries.summed_up(tx, job)
    together = spans_together(summed_up)
    rows = await curve_queries.spans(tx, job, together) if together else []
    rows += await curve_queries.steps_from(tx, job, following * curve_queries.STEPS if together else 0)
    return wire.Curve(points=[shapes.point_of(row) for row in rows])


@get(
    "/{job:str}/artifacts",
    operation_id="listFineTuningJobArtifacts",
    opt=needs("models.read"),
    summary="The files training made",
    responses=documented(404),
)
async def list_artifacts(job: FromPath[str], tx: Tx) -> Page[wire.Artifact]:
    """List the adapter's files with their sha256; they appear within seconds of the end of training."""
    await the_job(tx, job)
    found = [shapes.artifact_of(row) for row in await queries.artifacts(tx, job)]
    return page_of(found, [each.name for each in found], len(found))


@get(
    "/{job:str}/artifacts/{name:str}",
    operation_id="downloadFineTuningJobArtifact",
    opt=needs("models.download"),
    summary="Download one of them",
    responses=documented(404, 416),
    media_type="application/octet-stream",
)
async def download_artifact(
    job: FromPath[str], name: FromPath[str], request: Request[Any, Any, Any], tx: Tx, storage: TheStorage
) -> Response[bytes]:
    """Send a file that training made: whole, or the part that ``Range`` asks for."""
    await the_job(tx, job)
    row = await queries.artifact(tx, job, name)
    if row is None:
        raise NotFound(f"The job has no file {name[:100]!r}.", fix="GET …/artifacts lists those there are.")
    return await downloads.send(request, storage, row["uri"], tenant=tx.tenant, sha256=row["sha256"], filename=name)


@get(
    "/{job:str}/deployment.zip",
    operation_id="downloadFineTuningJobDeployment",
    opt=needs("models.download"),
    summary="The model with all it takes to run it",
    responses=documented(404, 409, 416),
    media_type="application/zip",
)
async def download_deployment(
    job: FromPath[str], request: Request[Any, Any, Any], tx: Tx, storage: TheStorage
) -> Response[bytes]:
    """Send a ZIP of what training made, the report, a program that talks with the model, and how to run it."""
    row = await the_job(tx, job)
    made = [_entry(each["name"], each["size"], each) for each in await queries.artifacts(tx, job)]
    if not made:
        raise Conflict("The job has no files to run.", code="no_model_yet", fix="Ask again when its stage is done.")
    reports = [each for each in [await queries.report(tx, job, format) for format in REPORT_TYPES] if each]
    shown = [_entry(f"report.{each['format']}", await storage.size(each["uri"]), each) for each in reports]
    model, at = row["fine_tuned_model"] or job, row["finished_at"] or row["created_at"]
    archive = deployment.archive(model, row["model"], at, made, shown)
    return await archiving.send(request, storage, archive, f"{job}.zip")


@get(
    "/{job:str}/report",
    operation_id="retrieveFineTuningJobReport",
    opt=needs("jobs.read"),
    summary="The proof as figures",
    responses=documented(404, 416),
)
async def report_json(
    job: FromPath[str], request: Request[Any, Any, Any], tx: Tx, storage: TheStorage
) -> Response[bytes]:
    """Send what changed against the base model, as JSON."""
    return await _report(job, "json", request, tx, storage)


@get(
    "/{job:str}/report.pdf",
    operation_id="downloadFineTuningJobReportPdf",
    opt=needs("jobs.read"),
    summary="The proof to print",
    responses=documented(404, 416),
    media_type="application/pdf",
)
async def report_pdf(
    job: FromPath[str], request: Request[Any, Any, Any], tx: Tx, storage: TheStorage
) -> Response[bytes]:
    """Send the report as a PDF."""
    return await _report(job, "pdf", request, tx, storage)


@get(
    "/{job:str}/report.html",
    operation_id="downloadFineTuningJobReportHtml",
    opt=needs("jobs.read"),
    summary="The proof to read",
    responses=documented(404, 416),
    media_type="text/html",
)
async def report_html(
    job: FromPath[str], request: Request[Any, Any, Any], tx: Tx, storage: TheStorage
) -> Response[bytes]:
    """Send the report as one HTML page."""
    return await _report(job, "html", request, tx, storage)


@post(
    "/{job:str}/ask",
    operation_id="askFineTunedModel",
    opt=needs("models.use"),
    summary="One reply of base and tuned model",
    status_code=200,
    responses=documented(404, 409, 503),
)
async def ask_model(
    job: FromPath[str], data: JSONBody[AskWish], caller: TheCaller, db: Db, bus: TheBus
) -> ModelReplied:
    """Ask both models the same thing and see the difference."""
    async with db.transaction(caller.tenant) as tx:
        row = await the_job(tx, job)
    if row["model_deleting_at"] is not None:
        raise NotFound("The job's model was deleted.", field="job", fix="Train it again to ask it.")
    if row["adapter_uri"] is None:
        raise Conflict("The job has no model yet.", code="no_model_yet", fix="Ask again when its status is succeeded.")
    question = AskModel(tenant=caller.tenant, job_id=job, prompt=data.prompt)
    if data.max_tokens is not UNSET:
        question = AskModel(tenant=caller.tenant, job_id=job, prompt=data.prompt, max_tokens=data.max_tokens)
    return await ask(bus, question, ModelReplied)


router = Router(
    "/v1/fine_tuning/jobs",
    route_handlers=[
        list_metrics,
        retrieve_curve,
        list_artifacts,
        download_artifact,
        download_deployment,
        report_json,
        report_pdf,
        report_html,
        ask_model,
    ],
    tags=["Results"],
)


async def _report(
    job: str, format: str, request: Request[Any, Any, Any], tx: Transaction, storage: Storage
) -> Response[bytes]:
    await the_job(tx, job)
    row = await queries.report(tx, job, format)
    if row is None:
        raise NotFound("The job has no such report yet.", fix="It is written after the evaluation; watch …/events.")
    response = await downloads.send(
        request,
        storage,
        row["uri"],
        tenant=tx.tenant,
        sha256=row["sha256"],
        filename=f"{job}.{format}",
        media_type=REPORT_TYPES[format],
        inline=True,
    )
    response.headers["Content-Security-Policy"] = (
        "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    )
    return response


def _entry(name: str, size: int, row: Record) -> deployment.Entry:
    return deployment.Entry(name, size, row["sha256"], row["uri"])


def _csv(metrics: list[wire.Metric]) -> str:
    text = io.StringIO()
    names = wire.Metric.__struct_fields__
    table = csv.writer(text)
    table.writerow(names)
    table.writerows([getattr(each, name) for name in names] for each in metrics)
    return text.getvalue()
