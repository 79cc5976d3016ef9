"""The handlers that come with the worker; importing this module registers them."""

from worker.handlers import echo, email_send, fail, http_request, sleep

__all__ = ["echo", "email_send", "fail", "http_request", "sleep"]
