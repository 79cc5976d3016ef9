"""The limit of a submission over HTTP: a bare Django view that parses JSON and calls the script that stores a job.

It sends the very command that `Broker.enqueue` sends, with another id, payload and checksum in it, and checks nothing.
"""

from __future__ import annotations

import json
import os
import uuid
import zlib
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from redis import Redis

from queueing import Broker, NewJob
from queueing.connections import link_to
from queueing.links import Link

QUEUE = "default"
JOB_ID = f"{QUEUE}_{uuid.uuid4().hex}"
PAYLOAD = b'{"text":"the payload of the one job that Broker.enqueue itself submits"}'

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="bare", MIDDLEWARE=[])


class Recorder:
    """A link that notes what is sent over it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.commands: list[Sequence[Any]] = []

    def execute_many(self, commands: Sequence[Any], *more: Any) -> list[Any]:
        """Note commands and send them."""
        self.commands += commands
        return self._link.execute_many(commands, *more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)


def command_of_enqueue(client: Redis) -> list[Any]:
    """Submit one job and return the command that stored it; the server knows the script from then on."""
    recorder = Recorder(link_to(client))
    Broker(client, link=recorder).enqueue(QUEUE, NewJob(kind="bench.noop", payload=PAYLOAD), job_id=JOB_ID)
    return list(next(command for command in recorder.commands if command[0] == "EVALSHA" and JOB_ID in command))


client = Redis.from_url(os.environ["REDIS_URL"])
template = command_of_enqueue(client)
ID_AT, PAYLOAD_AT, CRC_AT = (template.index(part) for part in (JOB_ID, PAYLOAD, zlib.crc32(PAYLOAD)))


def submit(request: HttpRequest) -> JsonResponse:
    """Store a job."""
    job = json.loads(request.body)
    job_id, payload = f"{QUEUE}_{uuid.uuid4().hex}", json.dumps(job["payload"]).encode()
    command = template.copy()
    command[ID_AT], command[PAYLOAD_AT], command[CRC_AT] = job_id, payload, zlib.crc32(payload)
    client.execute_command(*command)
    answer = JsonResponse({"id": job_id, "kind": job["kind"], "state": "ready"}, status=201)
    answer["Content-Length"] = str(len(answer.content))  # else it is sent in chunks; CommonMiddleware does this
    return answer


urlpatterns = [path("jobs", submit)]
application = get_wsgi_application()
