"""Answers as JSON bytes."""

from __future__ import annotations

from typing import Any

import msgspec
from rest_framework.renderers import BaseRenderer


class StructRenderer(BaseRenderer):
    """Encode a struct; JSON values inside it pass through as they were stored."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, *_: Any) -> bytes:
        """Return the struct as JSON, nothing for an answer without a body."""
        return b"" if data is None else msgspec.json.encode(data)
