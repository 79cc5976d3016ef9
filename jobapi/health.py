"""Probes: whether this process lives, and whether it can serve."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobapi import openapi, schemas
from queueing.conf import get_broker


class LiveView(APIView):
    """Answer without touching anything: a failing database is no reason to restart the API."""

    http_method_names = ["get", "head"]

    @openapi.GET_LIVEZ
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """Tell that the process answers."""
        return Response(schemas.Health())


class ReadyView(APIView):
    """Answer whether the queue's database answers."""

    http_method_names = ["get", "head"]

    @openapi.GET_READYZ
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """Tell that the queue's database answers."""
        get_broker().ping()
        return Response(schemas.Health())
