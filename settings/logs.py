"""What is logged, and where to: JSON lines on stdout, and when wanted in a file and over TCP."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from settings.log_handlers import Figures, LocalHandler
from settings.shipping import Frame, Sink, Syslog, TcpHandler, TlsFiles, as_line
from settings.variables import masked_url

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FORMATS = ("json", "rfc5424")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """How to log. `file` and `tcp_url` are empty where they are not wanted."""

    level: str = "INFO"
    service: str = "jobapi"
    env: str = ""
    version: str = ""
    redact: Sequence[str] = ()
    file: str = ""
    tcp_url: str = ""
    tcp_format: str = "json"
    tcp_tls: TlsFiles = field(default_factory=TlsFiles)


class NoErrorFilter(logging.Filter):
    """Lowers records to warnings without a traceback: of what clients do wrong, which is no error of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lower a record; none is dropped."""
        record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
        return True


def logging_config(options: LogOptions) -> dict[str, Any]:
    """Return Django's LOGGING; raises ImproperlyConfigured for options that cannot be."""
    handlers = _handlers(options)
    for handler in handlers.values():
        handler |= {"formatter": "json", "filters": ["request", "attempt"]}
    level = options.level
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": "settings.log_lines.LineFormatter",
                "service": options.service,
                "env": options.env,
                "version": options.version,
                "redact": list(options.redact),
            },
        },
        "filters": {
            "request": {"()": "jobapi.request_ids.RequestFilter"},
            "attempt": {"()": "worker.attempts.AttemptFilter"},
            "no_error": {"()": "settings.logs.NoErrorFilter"},
        },
        "handlers": handlers,
        "root": {"handlers": list(handlers), "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": level, "propagate": True},
            "django.security.DisallowedHost": {"filters": ["no_error"]},
            "_granian": {"handlers": [], "propagate": True},
            # At DEBUG these log what must not be seen: headers of answers, codes and tokens
            "httpcore2": {"level": "INFO"},
            "oauth2_provider": {"level": "INFO"},
            "oauthlib": {"level": "INFO"},
        },
    }


def _handlers(options: LogOptions) -> dict[str, dict[str, Any]]:
    handlers: dict[str, dict[str, Any]] = {"stdout": {"()": "settings.log_handlers.StdoutHandler"}}
    if options.file:
        handlers["file"] = {"()": "settings.log_handlers.FileHandler", "filename": options.file}
    if options.tcp_url:
        sink, frame = _sink(options), _frame(options)
        handlers["tcp"] = {"()": "settings.shipping.TcpHandler", "sink": sink, "frame": frame}
    return handlers


def _sink(options: LogOptions) -> Sink:
    url = urlsplit(options.tcp_url)
    try:
        port = url.port
    except ValueError:
        port = None
    if url.scheme not in ("tcp", "tls") or not url.hostname or not port or url.path.strip("/"):
        what = masked_url(options.tcp_url)
        raise ImproperlyConfigured(f"LOG_TCP_URL must be tcp://host:port or tls://host:port, not {what!r}")
    return Sink(url.hostname, port, tls=options.tcp_tls if url.scheme == "tls" else None)


def _frame(options: LogOptions) -> Frame:
    return Syslog(options.service, socket.gethostname()) if options.tcp_format == "rfc5424" else as_line


def log_figures() -> dict[str, Figures]:
    """Return what became of the log lines of this process, by handler: stdout, file, tcp."""
    handlers = logging.getLogger().handlers
    return {
        str(handler.name): handler.figures() for handler in handlers if isinstance(handler, LocalHandler | TcpHandler)
    }
