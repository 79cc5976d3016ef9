"""The base settings on a private VAR_DIR, whatever the developer's environment names.

TEST_VAR_DIR carries the directory on to the processes that tests start. The directory is made (and removed)
by tests/conftest.py: a type checker that loads these settings leaves nothing behind.
"""

import os
import secrets
import tempfile
from pathlib import Path

CONFIGURED = (
    "EXPORT_MAX_JOBS", "LOG_LINK", "MASKED_KEYS", "PAYLOAD_PREVIEW",
    "API_PROCESSES",
    "AGE_TARGET_SECONDS", "DASHBOARD_READ_ONLY", "DASHBOARD_REFRESH_SECONDS", "ENVIRONMENT",
    "ALLOWED_HOSTS", "DATABASE_URL", "DEBUG", "EMAIL_URL", "HOST", "HTTP_REQUEST_ALLOWED_HOSTS", "PORT",
    "ALLOW_VOLATILE", "DEFAULT_FROM_EMAIL", "FAULTS", "LEASE_SECONDS", "LOG_LEVEL", "MEMORY_LIMIT_MB", "REPLICAS",
    "AUTH_MODE", "DOCS_CLIENT_ID", "MONITORING_NETWORKS", "MONITORING_TOKEN", "OAUTH_ALGORITHMS", "OAUTH_AUDIENCE",
    "OAUTH_CACHE_SECONDS", "OAUTH_CLIENT_CLAIM", "OAUTH_INTROSPECTION_CLIENT_ID", "OAUTH_INTROSPECTION_CLIENT_SECRET",
    "OAUTH_ISSUER", "OAUTH_SCOPE_CLAIM", "OAUTH_TOKEN_SECONDS", "OAUTH_TOKEN_TYPES", "PUBLIC_URL",
    "SECRET_KEY_FALLBACKS", "TRUSTED_PROXIES",
    "ACCESS_LOG_SKIP", "DD_ENV", "DD_SERVICE", "DD_VERSION", "LOG_FILE", "LOG_REDACT", "LOG_TCP_CA_FILE",
    "LOG_TCP_CERTIFICATE_FILE", "LOG_TCP_FORMAT", "LOG_TCP_KEY_FILE", "LOG_TCP_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SERVICE_NAME",
    "RATE_LIMIT_READS", "RATE_LIMIT_WRITES", "QUEUES", "REDIS_URL", "STAFF_PASSWORD", "STAFF_USERNAME",
)  # fmt: skip

runner = os.environ.get("PYTEST_XDIST_WORKER", "alone")  # of the processes that share the tests, each has a server

if not os.environ.get("TEST_VAR_DIR", "").endswith(f"-{runner}"):
    for name in CONFIGURED:
        os.environ.pop(name, None)
        os.environ.pop(f"{name}_FILE", None)
    private = Path(tempfile.gettempdir()) / f"jobapi-test-{secrets.token_hex(8)}-{runner}"
    os.environ["TEST_VAR_DIR"] = str(private)

os.environ["VAR_DIR"] = os.environ["TEST_VAR_DIR"]
os.environ.setdefault("SECRET_KEY", "only-for-tests")

from settings.base import *  # noqa: E402, F403 - the environment has to be set first

AUTH_MODE = AUTH_MODE or "none"  # noqa: F405
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", "jobapi.oauth.hashers.ClientSecretHasher"]
DATABASES["default"]["TEST"] = {"NAME": ":memory:"}  # noqa: F405 - as for Django's own engine, under xdist too
