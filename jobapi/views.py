"""The API's calls on jobs, queues and workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.http import HttpRequest
from django.urls import reverse
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from jobapi import openapi, schemas
from jobapi.authentication import caller_of
from jobapi.bodies import JSON, MERGE_PATCH, check, decode, read_bytes, read_optional
from jobapi.listing import JobQuery, link_to_next, page_of, queues_of
from jobapi.problems import invalid
from jobapi.queries import read_query
from jobapi.submissions import known, submit_many, submit_one
from jobapi.tokens import MANAGE
from jobapi.waiting import is_known, look_when_changed
from queueing import Filters, JobNotFound, State
from queueing.conf import get_broker, get_inspector, known_queues
from queueing.jobs import MAX_DELAY_SECONDS, to_ms
from queueing.upkeep import requeue_dead

PURGE_AT_MOST = 100_000  # jobs a call, which takes the server about a second


class JobViewSet(ViewSet):
    """Submit jobs, find them and follow them."""

    http_method_names = ["get", "head", "post", "delete"]
    lookup_url_kwarg = "job_id"
    lookup_value_regex = "[^/]+"

    @openapi.SUBMIT_JOB
    def create(self, request: Request) -> Response:
        """Submit a job."""
        submitted = submit_one(plain(request))
        headers = {
            "Location": reverse("job-detail", args=[submitted.job.id]),
            "Durability": submitted.durability.value,
        }
        if submitted.replayed:
            headers["Idempotency-Replayed"] = "true"
        return Response(submitted.job, status=submitted.status, headers=headers)

    @openapi.SUBMIT_JOBS
    @action(detail=False, methods=["post"], url_path="bulk")
    def bulk(self, request: Request) -> Response:
        """Submit many jobs in one call."""
        done = submit_many(plain(request))
        replayed = all(result.replayed is True for result in done.results)
        return Response(done, headers={"Idempotency-Replayed": "true"} if replayed else None)

    @openapi.LIST_JOBS
    def list(self, request: Request) -> Response:
        """Return a page of jobs."""
        query = read_query(plain(request), JobQuery)
        page = page_of(query, queues_of(query), caller_of(plain(request)))
        return Response(page, headers=link_to_next(plain(request), page))

    @openapi.GET_JOB
    def retrieve(self, request: Request, job_id: str) -> Response:
        """Return a job as it is now, or when it has changed."""
        seen = look_when_changed(plain(request), job_id)
        headers = {"ETag": seen.etag}
        if seen.waited_seconds is not None:
            headers["Preference-Applied"] = f"wait={seen.waited_seconds}"
        if is_known(plain(request), seen.etag):
            return Response(status=304, headers=headers)
        return Response(seen.job, headers=headers)

    @openapi.DELETE_JOB
    def destroy(self, request: Request, job_id: str) -> Response:
        """Delete a job that is not running."""
        require_own(plain(request), job_id)
        get_broker().delete(job_id)
        return Response(status=204)

    @openapi.CANCEL_JOB
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, job_id: str) -> Response:
        """Cancel a job that has not finished."""
        read_optional(plain(request), schemas.Nothing)
        require_own(plain(request), job_id)
        get_broker().cancel(job_id)
        return Response(stored(job_id))

    @openapi.REQUEUE_JOB
    @action(detail=True, methods=["post"])
    def requeue(self, request: Request, job_id: str) -> Response:
        """Make a dead job ready again."""
        read_optional(plain(request), schemas.Nothing)
        require_own(plain(request), job_id)
        get_broker().requeue(job_id)
        return Response(stored(job_id))


class QueueViewSet(ViewSet):
    """Look at queues and steer them."""

    http_method_names = ["get", "head", "post", "patch"]
    lookup_url_kwarg = "queue"
    lookup_value_regex = "[^/]+"

    @openapi.LIST_QUEUES
    def list(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """Return all queues."""
        figures = get_inspector().stats_of(known_queues())
        return Response(schemas.QueuePage(items=[schemas.Queue.of(stats) for stats in figures]))

    @openapi.GET_QUEUE
    def retrieve(self, request: Request, queue: str) -> Response:  # noqa: ARG002 - DRF's signature
        """Return a queue as it is now."""
        return Response(figures_of(known(queue)))

    @openapi.CHANGE_QUEUE
    def partial_update(self, request: Request, queue: str) -> Response:
        """Change limits of a queue."""
        name = known(queue)
        body = read_bytes(plain(request), (JSON, MERGE_PATCH))
        check(body)
        get_broker().configure(name, **decode(body, schemas.QueueChanges).to_limits())
        return Response(figures_of(name))

    @openapi.PAUSE_QUEUE
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, queue: str) -> Response:
        """Stop claims of a queue."""
        name = known(queue)
        pause = read_optional(plain(request), schemas.Pause)
        check_until(pause.until)
        get_broker().pause(name, reason=pause.reason, until=pause.until)
        return Response(figures_of(name))

    @openapi.RESUME_QUEUE
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, queue: str) -> Response:
        """Let claims of a queue go on."""
        name = known(queue)
        read_optional(plain(request), schemas.Nothing)
        get_broker().resume(name)
        return Response(figures_of(name))

    @openapi.PURGE_QUEUE
    @action(detail=True, methods=["post"])
    def purge(self, request: Request, queue: str) -> Response:
        """Drop the jobs of a queue that are in one state."""
        name = known(queue)
        state = State(read_optional(plain(request), schemas.Purge).state)
        purged = get_broker().purge(name, state, limit=PURGE_AT_MOST)
        return Response(schemas.Purged(purged=purged, more=purged == PURGE_AT_MOST))

    @openapi.REQUEUE_DEAD
    @action(detail=True, methods=["post"], url_path="requeue-dead")
    def requeue_dead(self, request: Request, queue: str) -> Response:
        """Make dead jobs of a queue ready again."""
        name = known(queue)
        wanted = read_optional(plain(request), schemas.RequeueDead)
        filters = Filters(
            kind=wanted.kind or "",
            tag=wanted.tag or "",
            finished_from_ms=to_ms(wanted.finished_after) if wanted.finished_after else None,
            finished_until_ms=to_ms(wanted.finished_before) if wanted.finished_before else None,
        )
        requeued, more = requeue_dead(get_broker(), get_inspector(), name, filters, limit=wanted.limit)
        return Response(schemas.Requeued(requeued=requeued, more=more))


class WorkerViewSet(ViewSet):
    """See who works."""

    http_method_names = ["get", "head"]

    @openapi.LIST_WORKERS
    def list(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """Return the workers that are alive."""
        figures = get_inspector().stats_of(known_queues())
        alive = {
            worker.id: worker for stats in figures for worker in stats.workers if schemas.is_live(worker, stats.at)
        }
        return Response(schemas.WorkerPage(items=[schemas.Worker.of(alive[name]) for name in sorted(alive)]))


def plain(request: Request) -> HttpRequest:
    """Return Django's own request: DRF's parsers have no part in this."""
    return request._request  # noqa: SLF001 - DRF has no other name for it


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
