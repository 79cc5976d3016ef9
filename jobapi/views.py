"""The API's calls on jobs and queues."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.urls import reverse
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from jobapi import openapi, schemas
from jobapi.bodies import read, read_optional
from jobapi.problems import UNKNOWN_QUEUE, Refusal, invalid, shortened
from queueing import Broker, Enqueued, JobNotFound, NewJob
from queueing.conf import get_broker, get_inspector, known_queues
from queueing.jobs import MAX_DELAY_SECONDS


class JobViewSet(ViewSet):
    """Submit jobs and follow them."""

    http_method_names = ["get", "head", "post"]
    lookup_url_kwarg = "job_id"
    lookup_value_regex = "[^/]+"

    @openapi.SUBMIT_JOB
    def create(self, request: Request) -> Response:
        """Submit a job."""
        new = read(request._request, schemas.NewJob)  # noqa: SLF001 - DRF's parsers have no part in this
        queue = known_queues()[0] if new.queue is None else known(new.queue)
        return submit(queue, new.to_enqueue())

    @openapi.GET_JOB
    def retrieve(self, request: Request, job_id: str) -> Response:  # noqa: ARG002 - DRF's signature
        """Return a job as it is now."""
        return Response(stored(job_id))

    @openapi.CANCEL_JOB
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, job_id: str) -> Response:
        """Cancel a job that has not finished."""
        read_optional(request._request, schemas.Nothing)  # noqa: SLF001
        get_broker().cancel(job_id)
        return Response(stored(job_id))

    @openapi.REQUEUE_JOB
    @action(detail=True, methods=["post"])
    def requeue(self, request: Request, job_id: str) -> Response:
        """Make a dead job ready again."""
        read_optional(request._request, schemas.Nothing)  # noqa: SLF001
        get_broker().requeue(job_id)
        return Response(stored(job_id))


class QueueViewSet(ViewSet):
    """Look at queues, and stop and start them."""

    http_method_names = ["get", "head", "post"]
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

    @openapi.PAUSE_QUEUE
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, queue: str) -> Response:
        """Stop claims of a queue."""
        name = known(queue)
        pause = read_optional(request._request, schemas.Pause)  # noqa: SLF001
        check_until(pause.until)
        get_broker().pause(name, reason=pause.reason, until=pause.until)
        return Response(figures_of(name))

    @openapi.RESUME_QUEUE
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, queue: str) -> Response:
        """Let claims of a queue go on."""
        name = known(queue)
        read_optional(request._request, schemas.Nothing)  # noqa: SLF001
        get_broker().resume(name)
        return Response(figures_of(name))


def known(queue: str) -> str:
    """Return the name of a queue of this installation, or refuse it and name those there are."""
    names = known_queues()
    if queue not in names:
        raise Refusal(UNKNOWN_QUEUE, shortened(f"The known queues are: {', '.join(names)}."))
    return queue


def submit(queue: str, job: NewJob) -> Response:
    """Store a job and answer it, or the live job that holds its unique key."""
    enqueued, held = enqueue(get_broker(), queue, job)
    location = {"Location": reverse("job-detail", args=[enqueued.id])}
    if held is not None:
        return Response(held, status=200, headers=location)
    return Response(schemas.Job.created(queue, job, enqueued), status=201, headers=location)


def enqueue(broker: Broker, queue: str, job: NewJob) -> tuple[Enqueued, schemas.Job | None]:
    """Store a job; with it comes the job that holds its unique key, None when the job was created."""
    enqueued = broker.enqueue(queue, job)
    if enqueued.outcome != "unique":
        return enqueued, None
    try:
        return enqueued, stored(enqueued.id)
    except JobNotFound:  # the holder was purged between the two calls, so its key is free
        enqueued = broker.enqueue(queue, job)
        return enqueued, stored(enqueued.id) if enqueued.outcome == "unique" else None


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
