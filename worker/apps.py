"""The Django application of the worker process."""

from django.apps import AppConfig


class WorkerConfig(AppConfig):
    """Names the app; handlers are found when a worker starts, not when Django does."""

    name = "worker"
