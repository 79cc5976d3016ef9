"""The Django application of the HTTP API."""

from django.apps import AppConfig
from django.conf import settings
from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.db import reset_queries


class JobapiConfig(AppConfig):
    """Names the app."""

    name = "jobapi"

    def ready(self) -> None:
        """Register the checks, and unregister what requests need not wait for."""
        from jobapi import checks  # noqa: F401, PLC0415 - for `manage.py check`; only now are the models loaded

        spare_requests()


def spare_requests() -> None:
    """Let Django not do for each request what has no effect here, and took a twentieth of a submission's time.

    Queries are noted in DEBUG alone, and a cache of django-redis keeps its connections.
    """
    request_finished.disconnect(close_caches)
    if not settings.DEBUG:
        request_started.disconnect(reset_queries)
