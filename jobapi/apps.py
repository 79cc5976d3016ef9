"""The Django application of the HTTP API."""

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from queueing import fault_points


class JobapiConfig(AppConfig):
    """Names the app, and arms the fault points in every process of the installation, workers too."""

    name = "jobapi"

    def ready(self) -> None:
        """Raise ImproperlyConfigured when FAULTS is wrong: a test that injects nothing would prove nothing."""
        try:
            fault_points.arm(settings.FAULTS)
        except fault_points.WrongFaults as error:
            raise ImproperlyConfigured(f"FAULTS: {error}") from None
        from jobapi import checks  # noqa: F401, PLC0415 - for `manage.py check`; only now are the models loaded
