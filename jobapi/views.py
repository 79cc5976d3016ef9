"""The API's calls on jobs, queues and workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.http import HttpRequest, HttpResponse
from rest_framework.decorators import action

from jobapi import openapi, schemas
from jobapi.authentication import caller_of
from jobapi.bodies import JSON, MERGE_PATCH, check, decode, read_bytes, read_optional
from jobapi.calls import CallViewSet, reply
from jobapi.listing import JobQuery, link_to_next, page_of, queues_of
from jobapi.problems import invalid
from jobapi.queries import read_query
from jobapi.submissions import known, submit_many, submit_one
from jobapi.tokens import MANAGE
from jobapi.waiting import age_of, is_known, look_when_changed
from queueing import Filters, JobNotFound, State
from queueing.conf import get_broker, get_inspector, get_reader, known_queues
from queueing.jobs import MAX_DELAY_SECONDS, to_ms
from queueing.upkeep import requeue_dead

PURGE_AT_MOST = 100_000  # jobs a call, which takes the server about a second


class JobViewSet(CallViewSet):
    """Submit jobs, find them and follow them."""

    http_method_names = ["get", "head", "post", "delete"]
    lookup_url_kwarg = "job_id"
    lookup_value_regex = "[^/]+"

    @openapi.SUBMIT_JOB
    def create(self, request: HttpRequest) -> HttpResponse:
        """Submit a job."""
        submitted = submit_one(request)
        headers = {
            "Location": f"{request.path}/{submitted.job.id}",
            "Durability": submitted.durability.value,
        }
        if submitted.replayed:
            headers["Idempotency-Replayed"] = "true"
        return reply(submitted.job, status=submitted.status, headers=headers)

    @openapi.SUBMIT_JOBS
    @action(detail=False, methods=["post"], url_path="bulk")
    def bulk(self, request: HttpRequest) -> HttpResponse:
        """Submit many jobs in one call."""
        done = submit_many(request)
        replayed = all(result.replayed is True for result in done.results)
        return reply(done, headers={"Idempotency-Replayed": "true"} if replayed else None)

    @openapi.LIST_JOBS
    def list(self, request: HttpRequest) -> HttpResponse:
        """Return a page of jobs."""
        query = read_query(request, JobQuery)
        seen = page_of(query, queues_of(query), caller_of(request))
        return reply(seen.value, headers=link_to_next(request, seen.value) | age_of(seen))

    @openapi.GET_JOB
    def retrieve(self, request: HttpRequest, job_id: str) -> HttpResponse:
        """Return a job as it is now, or when it has changed."""
        seen = look_when_changed(request, job_id)
        headers = {"ETag": seen.etag} | seen.age
        if seen.waited_seconds is not None:
            headers["Preference-Applied"] = f"wait={seen.waited_seconds}"
        if is_known(request, seen.etag):
            return reply(status=304, headers=headers)
        return reply(seen.job, headers=headers)

    @openapi.DELETE_JOB
    def destroy(self, request: HttpRequest, job_id: str) -> HttpResponse:
        """Delete a job that is not running."""
        require_own(request, job_id)
        get_broker().delete(job_id)
        return reply(status=204)

    @openapi.CANCEL_JOB
    @action(detail=True, methods=["post"])
    def cancel(self, request: HttpRequest, job_id: str) -> HttpResponse:
        """Cancel a job that has not finished."""
        read_optional(request, schemas.Nothing)
        require_own(request, job_id)
        get_broker().cancel(job_id)
        return reply(stored(job_id))

    @openapi.REQUEUE_JOB
    @action(detail=True, methods=["post"])
    def requeue(self, request: HttpRequest, job_id: str) -> HttpResponse:
        """Make a dead job ready again."""
        read_optional(request, schemas.Nothing)
        require_own(request, job_id)
        get_broker().requeue(job_id)
        return reply(stored(job_id))


class QueueViewSet(CallViewSet):
    """Look at queues and steer them."""

    http_method_names = ["get", "head", "post", "patch"]
    lookup_url_kwarg = "queue"
    lookup_value_regex = "[^/]+"

    @openapi.LIST_QUEUES
    def list(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002 - all calls have one signature
        """Return all queues."""
        seen = get_reader().read(lambda inspector: inspector.stats_of(known_queues()))
        page = schemas.QueuePage(items=[schemas.Queue.of(stats) for stats in seen.value])
        return reply(page, headers=age_of(seen))

    @openapi.GET_QUEUE
    def retrieve(self, request: HttpRequest, queue: str) -> HttpResponse:  # noqa: ARG002 - all calls have one signature
        """Return a queue as it is now."""
        name = known(queue)
        seen = get_reader().read(lambda inspector: inspector.stats(name))
        return reply(schemas.Queue.of(seen.value), headers=age_of(seen))

    @openapi.CHANGE_QUEUE
    def partial_update(self, request: HttpRequest, queue: str) -> HttpResponse:
        """Change limits of a queue."""
        name = known(queue)
        body = read_bytes(request, (JSON, MERGE_PATCH))
        check(body)
        get_broker().configure(name, **decode(body, schemas.QueueChanges).to_limits())
        return reply(figures_of(name))

    @openapi.PAUSE_QUEUE
    @action(detail=True, methods=["post"])
    def pause(self, request: HttpRequest, queue: str) -> HttpResponse:
        """Stop claims of a queue."""
        name = known(queue)
        pause = read_optional(request, schemas.Pause)
        check_until(pause.until)
        get_broker().pause(name, reason=pause.reason, until=pause.until)
        return reply(figures_of(name))

    @openapi.RESUME_QUEUE
    @action(detail=True, methods=["post"])
    def resume(self, request: HttpRequest, queue: str) -> HttpResponse:
        """Let claims of a queue go on."""
        name = known(queue)
        read_optional(request, schemas.Nothing)
        get_broker().resume(name)
        return reply(figures_of(name))

    @openapi.PURGE_QUEUE
    @action(detail=True, methods=["post"])
    def purge(self, request: HttpRequest, queue: str) -> HttpResponse:
        """Drop the jobs of a queue that are in one state."""
        name = known(queue)
        state = State(read_optional(request, schemas.Purge).state)
        purged = get_broker().purge(name, state, limit=PURGE_AT_MOST)
        return reply(schemas.Purged(purged=purged, more=purged == PURGE_AT_MOST))

    @openapi.REQUEUE_DEAD
    @action(detail=True, methods=["post"], url_path="requeue-dead")
    def requeue_dead(self, request: HttpRequest, queue: str) -> HttpResponse:
        """Make dead jobs of a queue ready again."""
        name = known(queue)
        wanted = read_optional(request, schemas.RequeueDead)
        filters = Filters(
            kind=wanted.kind or "",
            tag=wanted.tag or "",
            finished_from_ms=to_ms(wanted.finished_after) if wanted.finished_after else None,
            finished_until_ms=to_ms(wanted.finished_before) if wanted.finished_before else None,
        )
        requeued, more = requeue_dead(get_broker(), get_inspector(), name, filters, limit=wanted.limit)
        return reply(schemas.Requeued(requeued=requeued, more=more))


class WorkerViewSet(CallViewSet):
    """See who works."""

    http_method_names = ["get", "head"]

    @openapi.LIST_WORKERS
    def list(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002 - all calls have one signature
        """Return the workers that are alive."""
        seen = get_reader().read(lambda inspector: inspector.stats_of(known_queues()))
        alive = {
            worker.id: worker for stats in seen.value for worker in stats.workers if schemas.is_live(worker, stats.at)
        }
        page = schemas.WorkerPage(items=[schemas.Worker.of(alive[name]) for name in sorted(alive)])
        return reply(page, headers=age_of(seen))


def require_own(request: HttpRequest, job_id: str) -> None:
    """Raise JobNotFound for a job that the caller may not know of, as if there were none."""
    caller = caller_of(request)
    if MANAGE not in caller.scopes and not caller.sees(get_inspector().job(job_id).owner):
        raise JobNotFound(job_id)


def stored(job_id: str) -> schemas.Job:
    """Return a job as it is now."""
    return schemas.Job.of(get_inspector().job(job_id))


def figures_of(queue: str) -> schemas.Queue:
    """Return a queue as it is now."""
    return schemas.Queue.of(get_inspector().stats(queue))


def check_until(until: datetime | None) -> None:
    """Refuse a pause that would end before it began, or not in a lifetime."""
    if until is None:
        return
    now = datetime.now(UTC)
    if not now < until <= now + timedelta(seconds=MAX_DELAY_SECONDS):
        raise invalid("/until", f"must lie ahead, by at most {MAX_DELAY_SECONDS} seconds")
