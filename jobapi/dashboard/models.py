"""What the dashboard is to Django's admin: an entry of its index, and the permissions of staff."""

from django.db import models

#: Each asked for on the server, by the pages that `jobapi.dashboard.pages` lists.
RIGHTS = {
    "view_dashboard": "Can see queues, jobs and workers",
    "view_payload": "Can see payloads and results unmasked",
    "view_store": "Can see the database server's figures",
    "view_audit": "Can see who did what",
    "requeue_job": "Can requeue dead jobs",
    "cancel_job": "Can cancel jobs",
    "delete_job": "Can delete jobs",
    "bulk_action": "Can act on many jobs at once",
    "pause_queue": "Can pause and resume queues",
    "purge_queue": "Can purge queues",
    "export_jobs": "Can export jobs",
}


class Dashboard(models.Model):  # noqa: DJ008 - there are no objects of it
    """Has no table: jobs are in the queue's database."""

    class Meta:
        """Its permissions, and what the index calls it."""

        managed = False
        verbose_name = verbose_name_plural = "dashboard"
        default_permissions = ()
        permissions = list(RIGHTS.items())
