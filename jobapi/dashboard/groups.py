"""The groups that staff can be put into at once."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission

from jobapi.dashboard.models import RIGHTS

VIEWERS = ("view_dashboard", "view_store")
OPERATORS = (*VIEWERS, "requeue_job", "cancel_job", "bulk_action", "pause_queue", "export_jobs", "view_audit")
ADMINISTRATORS = tuple(RIGHTS)

GROUPS = {"Queue viewers": VIEWERS, "Queue operators": OPERATORS, "Queue administrators": ADMINISTRATORS}


def make_groups(using: str, **_: Any) -> None:
    """Make the groups that are missing, after a migration; one that is there is left as people changed it."""
    for name, codenames in GROUPS.items():
        group, is_new = Group.objects.using(using).get_or_create(name=name)
        if is_new:
            rights = Permission.objects.using(using).filter(content_type__app_label="dashboard", codename__in=codenames)
            group.permissions.set(rights)
