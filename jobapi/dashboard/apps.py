"""The Django application of the dashboard."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class DashboardConfig(AppConfig):
    """Names the app, and sees to its ready-made groups."""

    name = "jobapi.dashboard"
    label = "dashboard"
    verbose_name = "Jobs"

    def ready(self) -> None:
        """Have the groups made once their permissions are in the database."""
        from jobapi.dashboard.groups import make_groups  # noqa: PLC0415 - only now are the models loaded

        post_migrate.connect(make_groups, sender=self)
