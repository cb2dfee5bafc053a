"""What the invariants read of every service's schema: nothing of what a customer wrote."""

OUTBOX = "SELECT seq, id, subject, headers, body FROM {schema}.outbox ORDER BY seq"
VERSIONS = "SELECT aggregate, version FROM {schema}.aggregate_version"

GATEWAY_JOBS = """
    SELECT job_id, tenant, status, run_id, cost, seconds, adapter_uri, adapter_sha256, collected_at,
           model_deleting_at, model_deleted_at
      FROM gateway.job
"""
FILES = "SELECT file_id, tenant, uri, size, sha256, deleting_at, deleted_at FROM gateway.file"
UPLOADS = "SELECT upload_id, tenant, status, swept_at FROM gateway.upload"
PARTS = "SELECT part_id, upload_id, uri, size, sha256 FROM gateway.upload_part"
ARTIFACTS = "SELECT job_id, name, uri, size, sha256 FROM gateway.artifact"
REPORTS = "SELECT job_id, format, evaluation_id, uri, sha256 FROM gateway.report"
TENANTS = "SELECT tenant, audited, audit_head FROM gateway.tenant"
AUDIT = """
    SELECT tenant, number, at, actor, via, action, about, details, origin, request_id, previous, hash
      FROM gateway.audit
     ORDER BY tenant, number
"""
SCHEDULER_JOBS = "SELECT job_id, tenant, state, run_id, charged, wish IS NOT NULL AS wished FROM scheduler.job"
SPENDING = "SELECT tenant, month, amount FROM scheduler.spending"
DATASETS = """
    SELECT dataset_id, tenant, state, digest, outcome ->> 'uri' AS uri, lease_until > now() AS held
      FROM dataset.dataset
"""
RUNS = "SELECT run_id, tenant, job_id, state, attempt, step FROM trainer.run"
DEVICES = "SELECT device_id, memory_bytes FROM trainer.device"
LEASES = """
    SELECT fence, run_id, tenant, device_id, runner, attempt, granted_at, ended_at, ended_how, memory_bytes, shared,
           (extract(epoch FROM ended_at - granted_at) * 1000000)::bigint AS microseconds
      FROM trainer.lease
     ORDER BY fence
"""
MACHINES = "SELECT key, price, devices FROM trainer.machine"
CHECKPOINTS = """
    SELECT uri, run_id, tenant, fence, step, size, sha256, quarantined
      FROM trainer.checkpoint
"""
EVALUATIONS = "SELECT id, tenant, job_id, run_id, state FROM evaluator.evaluation"
NOTICES = "SELECT notice_id, tenant, job_id, channel, recipient, about, state, reason FROM notifier.notice"

TABLES = {
    "gateway.job": GATEWAY_JOBS,
    "gateway.file": FILES,
    "gateway.upload": UPLOADS,
    "gateway.upload_part": PARTS,
    "gateway.artifact": ARTIFACTS,
    "gateway.report": REPORTS,
    "gateway.tenant": TENANTS,
    "gateway.audit": AUDIT,
    "scheduler.job": SCHEDULER_JOBS,
    "scheduler.spending": SPENDING,
    "dataset.dataset": DATASETS,
    "trainer.run": RUNS,
    "trainer.device": DEVICES,
    "trainer.lease": LEASES,
    "trainer.machine": MACHINES,
    "trainer.checkpoint": CHECKPOINTS,
    "evaluator.evaluation": EVALUATIONS,
    "notifier.notice": NOTICES,
}
