"""What pages need is not made ready for calls."""

from __future__ import annotations

import pytest
from django.test import Client


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "is_page"), [("/api/v1/queues", False), ("/admin/login/", True)])
def test_a_session_and_a_user_are_there_for_pages_alone(api: Client, path: str, is_page: bool) -> None:
    request = api.get(path).wsgi_request

    assert (hasattr(request, "session"), hasattr(request, "user")) == (is_page, is_page)
