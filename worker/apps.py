"""The Django application of the worker process."""

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from queueing import fault_points


class WorkerConfig(AppConfig):
    """Names the app, and arms the fault points in every process of the installation; all have this app.

    Handlers are found when a worker starts, not when Django does.
    """

    name = "worker"

    def ready(self) -> None:
        """Raise ImproperlyConfigured when FAULTS is wrong: a test that injects nothing would prove nothing."""
        try:
            fault_points.arm(settings.FAULTS)
        except fault_points.WrongFaults as error:
            raise ImproperlyConfigured(f"FAULTS: {error}") from None
