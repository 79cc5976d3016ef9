"""The users of the admin: the audit of what they did stays."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from jobapi.dashboard import audit

USERS = "/admin/auth/user/"


@pytest.fixture
def root(db: None) -> Client:
    """Give the browser of a superuser."""
    browser = Client(headers={"host": "localhost"})
    user = User.objects.create_superuser("root")
    browser.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return browser


@pytest.fixture
def idle(db: None) -> User:
    return User.objects.create_user("ida", is_staff=True)


@pytest.fixture
def acted(db: None) -> User:
    """Give a user who has done something."""
    user = User.objects.create_user("olga", is_staff=True)
    request = RequestFactory().post("/")
    request.user = user
    audit.record(request, "purge", "queue mail", of="mail", reason="x")
    return user


def delete_selected(root: Client, *users: User) -> int:
    chosen = {"action": "delete_selected", "_selected_action": [user.pk for user in users], "post": "yes"}
    return root.post(USERS, chosen).status_code


def test_who_has_done_something_cannot_be_deleted(root: Client, acted: User) -> None:
    for answer in (root.get(f"{USERS}{acted.pk}/delete/"), root.post(f"{USERS}{acted.pk}/delete/", {"post": "yes"})):
        assert answer.status_code == 403

    assert delete_selected(root, acted) == 403
    assert LogEntry.objects.filter(user=acted).count() == 1


def test_nor_together_with_others(root: Client, acted: User, idle: User) -> None:
    assert delete_selected(root, acted, idle) == 403
    assert User.objects.filter(pk__in=[acted.pk, idle.pk]).count() == 2


def test_who_has_done_nothing_can(root: Client, idle: User) -> None:
    assert root.post(f"{USERS}{idle.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=idle.pk).exists()


def test_whoever_left_can_be_locked_out(root: Client, acted: User) -> None:
    page = root.get(f"{USERS}{acted.pk}/change/")

    assert page.status_code == 200
    assert b'name="is_active"' in page.content
    assert b"deletelink" not in page.content
