"""The content security policy, which only pages need: an answer of the API would wait 30 us for it."""

from __future__ import annotations

from typing import Any

from csp.middleware import CSPMiddleware
from django.http import HttpRequest

NO_PAGES = ("/api/v1/", "/livez", "/readyz", "/metrics")


class PolicyMiddleware(CSPMiddleware):
    """Sends the policy (setting CONTENT_SECURITY_POLICY) with pages."""

    def __call__(self, request: HttpRequest) -> Any:
        """Answer a request."""
        if request.path_info.startswith(NO_PAGES):
            return self.get_response(request)
        return super().__call__(request)
