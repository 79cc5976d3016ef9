"""The Django application of the HTTP API."""

from django.apps import AppConfig


class JobapiConfig(AppConfig):
    """Names the app."""

    name = "jobapi"
