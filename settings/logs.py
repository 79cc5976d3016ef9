"""Logs are JSON lines on stdout, one event a line."""

from __future__ import annotations

from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS


def logging_config(level: str) -> dict[str, Any]:
    """Return Django's LOGGING: lines from `level` up, with time, level, logger, message, extras and request id."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": ["levelname", "name", "message"],
                "timestamp": "time",
                "reserved_attrs": [*RESERVED_ATTRS, "request"],  # its text has the query, where clients put tokens
                "rename_fields": {"levelname": "level", "name": "logger"},
            },
        },
        "filters": {"request_id": {"()": "jobapi.request_ids.RequestIdFilter"}},
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "json",
                "filters": ["request_id"],
            },
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": level, "propagate": True},
            # At DEBUG these log what must not be seen: headers of answers, codes and tokens
            "httpcore2": {"level": "INFO"},
            "oauth2_provider": {"level": "INFO"},
            "oauthlib": {"level": "INFO"},
        },
    }
