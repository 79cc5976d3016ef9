"""What tests of the dashboard share: three users, an emptied database, and the broker to move jobs with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Group, User
from django.test import Client
from redis import Redis

from queueing import Broker
from queueing.conf import get_broker

BASE = "/admin/dashboard/dashboard/"


@pytest.fixture(autouse=True)
def queues(settings: LazySettings, valkey: Redis, db: None) -> list[str]:
    """Let the installation have two queues, both empty."""
    settings.QUEUES = ["default", "mail"]
    return ["default", "mail"]


@pytest.fixture
def broker() -> Broker:
    """Give the broker that the dashboard uses."""
    return get_broker()


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """Give a function that logs a new member of staff in, who is in the group."""

    def log_in(name: str, group: str = "") -> Client:
        user = User.objects.create_user(name, is_staff=True)
        if group:
            user.groups.add(Group.objects.get(name=group))
        browser = Client(raise_request_exception=False, headers={"host": "localhost"})
        browser.force_login(user, "django.contrib.auth.backends.ModelBackend")
        return browser

    return log_in


@pytest.fixture
def viewer(staff: Callable[..., Client]) -> Client:
    """Give the browser of one who may look."""
    return staff("victor", "Queue viewers")


@pytest.fixture
def operator(staff: Callable[..., Client]) -> Client:
    """Give the browser of one who may act."""
    return staff("olga", "Queue operators")


@pytest.fixture
def administrator(staff: Callable[..., Client]) -> Client:
    """Give the browser of one who may do everything."""
    return staff("anna", "Queue administrators")


@pytest.fixture
def stranger(staff: Callable[..., Client]) -> Client:
    """Give the browser of a member of staff without any right on the dashboard."""
    return staff("mallory")
