"""The API's calls on jobs and queues."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

from django.http import HttpRequest
from django.urls import reverse
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from jobapi import openapi, schemas
from jobapi.bodies import read, read_optional
from jobapi.problems import BAD_REQUEST, JOB_GONE, UNKNOWN_QUEUE, Refusal, invalid, shortened
from queueing import Broker, Durability, Enqueued, JobNotFound, NewJob, Submission
from queueing.conf import get_broker, get_inspector, known_queues
from queueing.jobs import MAX_DELAY_SECONDS

IDEMPOTENCY_KEY = re.compile(r'"(?P<quoted>[!#-\[\]-~]{1,200})"|(?P<bare>[!#-\[\]-~]{1,200})')


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
        job = new.to_enqueue(submission_of(request._request))  # noqa: SLF001
        return submit(queue, job, new.durability)

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


def submit(queue: str, job: NewJob, durability: Durability) -> Response:
    """Store a job and answer it, or the live job that holds its unique key, or the one this submission made before."""
    enqueued, held = enqueue(get_broker(), queue, job, durability)
    headers = {"Location": reverse("job-detail", args=[enqueued.id]), "Durability": durability.value}
    if held is None:
        return Response(schemas.Job.created(queue, job, enqueued), status=201, headers=headers)
    if enqueued.outcome == "replayed":
        return Response(held, status=201, headers={**headers, "Idempotency-Replayed": "true"})
    return Response(held, status=200, headers=headers)


def enqueue(broker: Broker, queue: str, job: NewJob, durability: Durability) -> tuple[Enqueued, schemas.Job | None]:
    """Store a job; with it comes the job that was there instead, None when the job was created."""
    enqueued = broker.enqueue(queue, job, durability=durability)
    if enqueued.outcome == "created":
        return enqueued, None
    try:
        return enqueued, stored(enqueued.id)
    except JobNotFound:
        if enqueued.outcome == "replayed":
            raise Refusal(JOB_GONE, "This submission was made before; its job was deleted since.") from None
    enqueued = broker.enqueue(queue, job, durability=durability)  # the holder of the unique key was purged meanwhile
    return enqueued, None if enqueued.outcome == "created" else stored(enqueued.id)


def submission_of(request: HttpRequest) -> Submission | None:
    """Return what makes this submission recognisable, None without an Idempotency-Key.

    The key is a structured string (draft-ietf-httpapi-idempotency-key-header-07), taken without its quotes too.
    """
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return None
    found = IDEMPOTENCY_KEY.fullmatch(header.strip())
    if found is None:
        raise Refusal(BAD_REQUEST, "The Idempotency-Key must be 1 to 200 visible ASCII characters.")
    key = f"{request.path} {found['quoted'] or found['bare']}"
    return Submission(key=key, fingerprint=hashlib.sha256(request.body).hexdigest())


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
