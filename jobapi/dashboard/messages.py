"""Messages to staff (django.contrib.messages), which are of pages alone."""

from __future__ import annotations

from django.contrib.messages import middleware
from django.http import HttpRequest

from jobapi.dashboard.policy import NO_PAGES


class MessageMiddleware(middleware.MessageMiddleware):
    """Read messages for pages alone: to get ready for it takes 20 us, which each answer of the API would wait for."""

    def process_request(self, request: HttpRequest) -> None:
        """Read the messages that a page may show."""
        if not request.path_info.startswith(NO_PAGES):
            super().process_request(request)
