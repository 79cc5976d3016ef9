"""What pages need is not made ready for calls."""

from __future__ import annotations

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client

from jobapi.counters import RequestMetricsMiddleware
from jobapi.middleware import FOR_PAGES, CallsMiddleware


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "is_page"), [("/api/v1/queues", False), ("/admin/login/", True)])
def test_a_session_and_a_user_are_there_for_pages_alone(api: Client, path: str, is_page: bool) -> None:
    request = api.get(path).wsgi_request

    assert (hasattr(request, "session"), hasattr(request, "user")) == (is_page, is_page)


def test_calls_pass_by_all_middleware_for_pages_and_by_none_other() -> None:
    def chain_of(handler: object) -> list[object]:
        found = []
        while hasattr(middleware := getattr(handler, "__wrapped__", None), "get_response"):
            found.append(middleware)
            handler = middleware.get_response
        return found

    chain = chain_of(WSGIHandler()._middleware_chain)
    fork = next(n for n, middleware in enumerate(chain) if isinstance(middleware, CallsMiddleware))

    assert [type(one) for one in chain[fork + 1 :] if isinstance(one, FOR_PAGES)] == list(FOR_PAGES)
    assert not any(isinstance(one, FOR_PAGES) for one in chain[:fork])
    assert chain_of(chain[fork]._beyond_pages) == chain[-1:]
    assert isinstance(chain[-1], RequestMetricsMiddleware)
