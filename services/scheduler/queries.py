"""The SQL of jobs and of what is known of their datasets: one function, one statement.

Two facts about the same thing may be taken in at the same moment by two processes. Each function that
decides on a row therefore locks it first, so the second sees what the first committed.
"""

from contracts.jobs import JobCancelAsked, JobPauseAsked, JobResumeAsked, JobSubmitted
from contracts.recipes import Recipe
from contracts.runs import LeaseGranted
from libs.db import Transaction
from services.scheduler.domain.job import Job, News
from services.scheduler.domain.job_states import State
from services.scheduler.rows import as_json, job_of, news_of

AWAIT_DATASET = """
    INSERT INTO scheduler.dataset AS known (tenant, dataset_id)
    VALUES ($1, $2)
        ON CONFLICT (tenant, dataset_id) DO UPDATE SET news = known.news
 RETURNING news
"""


async def await_dataset(tx: Transaction, tenant: str, dataset_id: str) -> News | None:
    """Return the news of a dataset, if there is any, and make what comes later wait for this transaction's end."""
    return news_of(await tx.fetchval(AWAIT_DATASET, tenant, dataset_id))


KEEP_NEWS = """
    INSERT INTO scheduler.dataset AS known (tenant, dataset_id, news)
    VALUES ($1, $2, $3)
        ON CONFLICT (tenant, dataset_id) DO UPDATE SET news = $3
     WHERE known.news IS NULL
"""


async def keep_news(tx: Transaction, news: News) -> None:
    """Write down that a dataset can train, or why it never will. What was said first stands."""
    await tx.execute(KEEP_NEWS, news.tenant, news.dataset_id, as_json(news))


NEWS = "SELECT news FROM scheduler.dataset WHERE tenant = $1 AND dataset_id = $2"


async def news(tx: Transaction, tenant: str, dataset_id: str) -> News | None:
    """Read the news of a dataset."""
    return news_of(await tx.fetchval(NEWS, tenant, dataset_id))


ADD_JOB = """
    INSERT INTO scheduler.job AS known (tenant, job_id, state, wish, dataset_id, priority, submitted_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (tenant, job_id) DO UPDATE
       SET state = CASE known.state WHEN 'paused' THEN 'paused' ELSE $3 END,
           wish = $4, dataset_id = $5, priority = $6, submitted_at = $7
     WHERE known.wish IS NULL AND known.state <> 'cancelled'
 RETURNING *
"""


async def add_job(tx: Transaction, wish: JobSubmitted, state: State) -> Job | None:
    """Write a job down. ``None``: it is known already, or was cancelled before its wish arrived."""
    row = await tx.fetchrow(
        ADD_JOB, wish.tenant, wish.job_id, state, as_json(wish), wish.dataset_id, wish.priority, wish.at
    )
    return job_of(row) if row else None


ADD_CANCELLED = """
    INSERT INTO scheduler.job AS known (tenant, job_id, state)
    VALUES ($1, $2, 'cancelled')
        ON CONFLICT (tenant, job_id) DO UPDATE SET state = 'cancelled'
     WHERE known.wish IS NULL AND known.state <> 'cancelled'
 RETURNING job_id
"""


async def add_cancelled(tx: Transaction, asked: JobCancelAsked) -> bool:
    """Write down the end of a job whose wish has not arrived. ``False``: the job is known."""
    return await tx.fetchval(ADD_CANCELLED, asked.tenant, asked.job_id) is not None


JOB = """
    SELECT *
      FROM scheduler.job
     WHERE tenant = $1 AND job_id = $2 AND wish IS NOT NULL
       FOR UPDATE
"""


async def job(tx: Transaction, tenant: str, job_id: str) -> Job | None:
    """Read and lock a job."""
    row = await tx.fetchrow(JOB, tenant, job_id)
    return job_of(row) if row else None


HEAR_WISH = """
    INSERT INTO scheduler.job AS known (tenant, job_id, state, wish_version)
    VALUES ($1, $2, 'unknown', $3)
        ON CONFLICT (tenant, job_id) DO UPDATE SET wish_version = $3
     WHERE known.wish_version < $3
 RETURNING state
"""


async def hear_wish(tx: Transaction, asked: JobPauseAsked | JobResumeAsked) -> State | None:
    """Lock the job a wish is about, known or not, and return its state. ``None``: a newer wish was heard already."""
    state = await tx.fetchval(HEAR_WISH, asked.tenant, asked.job_id, asked.version)
    return State(state) if state else None


WAITING_FOR_DATASET = """
    SELECT *
      FROM scheduler.job
     WHERE tenant = $1 AND dataset_id = $2 AND state = 'validating_files'
     ORDER BY submitted_at, job_id
       FOR UPDATE
"""


async def waiting_for_dataset(tx: Transaction, tenant: str, dataset_id: str) -> list[Job]:
    """Read and lock the jobs that wait for this dataset, oldest first."""
    return [job_of(row) for row in await tx.fetch(WAITING_FOR_DATASET, tenant, dataset_id)]


ENTER = """
    UPDATE scheduler.job
       SET state = $3, changed_at = now()
     WHERE tenant = $1 AND job_id = $2
"""


async def enter(tx: Transaction, job: Job | JobPauseAsked | JobResumeAsked, state: State) -> None:
    """Move a locked job, or the one a wish is about, to a state."""
    await tx.execute(ENTER, job.tenant, job.job_id, state)


QUEUE = """
    UPDATE scheduler.job
       SET state = $3, asked = $4, memory_bytes = $5, needs = $6, changed_at = now()
     WHERE tenant = $1 AND job_id = $2
"""


async def queue(tx: Transaction, job: Job, state: State, asked: Recipe, memory_bytes: int) -> None:
    """Put a job in the queue with its complete recipe, and what it needs of a device: memory, and understanding."""
    await tx.execute(QUEUE, job.tenant, job.job_id, state, as_json(asked), memory_bytes, list(asked.needs))


BEGUN = "UPDATE scheduler.job SET begun = true WHERE tenant = $1 AND job_id = $2"


async def set_begun(tx: Transaction, job: Job) -> None:
    """Note that the trainer keeps the job's run."""
    await tx.execute(BEGUN, job.tenant, job.job_id)


MOVE = """
    UPDATE scheduler.job
       SET device_id = $4, fence = $5
      FROM scheduler.job AS before
     WHERE job.tenant = $1 AND job.job_id = $2 AND job.run_id = $3 AND job.fence < $5
       AND before.tenant = job.tenant AND before.job_id = job.job_id
 RETURNING before.device_id <> $4
"""


async def move(tx: Transaction, lease: LeaseGranted) -> bool:
    """Note which device a run is on now. ``True``: it is another one than before."""
    moved = await tx.fetchval(MOVE, lease.tenant, lease.job_id, lease.run_id, lease.device_id, lease.fence)
    return bool(moved)
