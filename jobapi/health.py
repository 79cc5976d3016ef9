"""Probes: whether this process lives, and whether it can serve."""

from __future__ import annotations

import time

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobapi import openapi, schemas
from jobapi.permissions import sees_details
from jobapi.problems import RETRY_AFTER_SECONDS, UNFIT, UNFIT_DETAIL, Refusal
from queueing.audit import check_server
from queueing.conf import get_broker, get_store, known_queues

RECHECK_SECONDS = 30.0  # how long a server that was found fit is taken to be so


class Fitness:
    """Whether the database server is set up to keep jobs: its settings may be changed while it runs.

    A fit one is examined twice a minute, an unfit one at each question, so that it serves as soon as it is mended.
    """

    def __init__(self) -> None:
        self._fit_until = float("-inf")

    def require(self) -> None:
        """Raise Refusal, named after the first thing that is wrong, or StoreUnavailable."""
        now = time.monotonic()
        if now < self._fit_until:
            get_broker().ping(known_queues())
            return
        self._fit_until = float("-inf")
        for finding in check_server(get_store(), volatile_allowed=settings.ALLOW_VOLATILE):
            if finding.level == "error":
                raise Refusal(UNFIT[finding.code], UNFIT_DETAIL, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        self._fit_until = now + RECHECK_SECONDS


fitness = Fitness()


class LiveView(APIView):
    """Answer without touching anything: a failing database is no reason to restart the API."""

    http_method_names = ["get", "head"]

    @openapi.GET_LIVEZ
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """Tell that the process answers."""
        return Response(schemas.Health())


class ReadyView(APIView):
    """Answer whether the queue's database answers, and keeps what it is given."""

    http_method_names = ["get", "head"]

    @openapi.GET_READYZ
    def get(self, request: Request) -> Response:
        """Tell that the queue's database answers, and keeps what it is given."""
        fitness.require()
        if sees_details(request._request):  # noqa: SLF001 - DRF has no other name for it
            return Response(schemas.Health(auth_mode=settings.AUTH_MODE))
        return Response(schemas.Health())
