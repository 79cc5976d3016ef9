"""How the API's calls are served: DRF gives them addresses and their place in openapi.yaml, and has no other part.

Bodies, answers, errors, callers and limits are our own; what DRF does for each request besides took longer than
most calls themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from rest_framework.viewsets import ViewSet

from jobapi.bodies import JSON
from jobapi.problems import Refusal, answer, kind_of_status, refusal_of


class CallViewSet(ViewSet):
    """Calls that take Django's request and return its response, or raise what `refusal_of` knows."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Serve a request by the method that bears the name of its own."""
        try:
            _require_acceptable(request)
            return self._method_for(request)(request, *args, **kwargs)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            return answer(request, refusal)

    def _method_for(self, request: HttpRequest) -> Callable[..., HttpResponse]:
        name = str(request.method).lower()
        if name in self.http_method_names and hasattr(self, name):
            return getattr(self, name)  # type: ignore[no-any-return]
        allowed = ", ".join(name.upper() for name in self.http_method_names if hasattr(self, name))
        raise Refusal(kind_of_status(405), f'Method "{request.method}" not allowed.', headers={"Allow": allowed})


def reply(
    document: msgspec.Struct | None = None, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return a struct as JSON, whose JSON values pass through as they were stored; without one there is no body."""
    content = b"" if document is None else msgspec.json.encode(document)
    response = HttpResponse(content, status=status, content_type=JSON, headers=headers)
    if document is None:
        del response.headers["Content-Type"]
    return response


def _require_acceptable(request: HttpRequest) -> None:
    if request.META.get("HTTP_ACCEPT", "*/*") not in ("*/*", JSON) and not request.accepts(JSON):
        raise Refusal(kind_of_status(406), "Could not satisfy the request Accept header.")
