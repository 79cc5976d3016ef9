"""What schemathesis has to be told about this API; it imports this file by the name in schemathesis.toml."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Send text as it was generated, and nothing for what is no text: all text may be lines of jobs."""
    return value.encode() if isinstance(value, str) else b""
