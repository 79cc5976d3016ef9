"""The one base for development and production: everything that differs comes from the environment.

Each variable X may also be given as X_FILE, the path of a file that holds the value (a mounted secret).
"""

from __future__ import annotations

import os
import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from environ import FileAwareEnv

from queueing.connections import plain
from queueing.embedded import default_url
from settings.logs import LogOptions, log_figures, logging_config
from settings.shipping import TlsFiles

env = FileAwareEnv()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))).resolve()


def kept_secret(path: Path) -> str:
    """Return the secret kept at `path` (mode 0600), making it on first use.

    Of several processes that start at once, one links its secret into place and all read that one.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(50))
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()


VERSION = env.str("DD_VERSION", default="0.1.0")  # what runs here, as metrics and logs name it
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or kept_secret(VAR_DIR / "secret_key")
SECRET_KEY_FALLBACKS: list[str] = env.list("SECRET_KEY_FALLBACKS", default=[])  # keys of before, while some use them
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])

HOST = env.str("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
API_PROCESSES = env.int("API_PROCESSES", default=1)
if not 1 <= API_PROCESSES <= 64:
    raise ImproperlyConfigured("API_PROCESSES must be between 1 and 64")
REQUEST_SECONDS = env.float("REQUEST_SECONDS", default=30.0)  # a client has for the head of a request, and for its body
if not 1 <= REQUEST_SECONDS <= 60:
    raise ImproperlyConfigured("REQUEST_SECONDS must be between 1 and 60")
STAFF_USERNAME = env.str("STAFF_USERNAME", default="admin")
STAFF_PASSWORD = env.str("STAFF_PASSWORD", default="")

QUEUES: list[str] = env.list("QUEUES", default=["default"])
LEASE_SECONDS = env.float("LEASE_SECONDS", default=30.0)
if not 0 < LEASE_SECONDS <= 3600:
    raise ImproperlyConfigured("LEASE_SECONDS must lie above 0 and be at most 3600")
MEMORY_LIMIT_MB = env.int("MEMORY_LIMIT_MB", default=0)  # of a worker process; 0 for none
REPLICAS = env.int("REPLICAS", default=1)  # that must have a job submitted with durability `replicated`
ALLOW_VOLATILE = env.bool("ALLOW_VOLATILE", default=False)  # accept a database server without a journal
FAULTS = env.str("FAULTS", default="")  # for tests: where this process fails on purpose (queueing.fault_points)
HTTP_REQUEST_ALLOWED_HOSTS: list[str] = env.list("HTTP_REQUEST_ALLOWED_HOSTS", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "oauth2_provider",
    "axes",
    "csp",
    "django_htmx",
    "jobapi",
    "jobapi.dashboard",
    "jobapi.oauth",
    "worker",
]

MIDDLEWARE = [
    "jobapi.middleware.FrontDoorMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "jobapi.throttling.ThrottlingMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "jobapi.dashboard.policy.PolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "jobapi.permissions.ScopeMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "jobapi.counters.RequestMetricsMiddleware",
]

ROOT_URLCONF = "settings.urls"
WSGI_APPLICATION = "settings.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def database() -> dict[str, Any]:
    """Return the database of DATABASE_URL; SQLite, the default, in WAL mode so that readers never wait."""
    config: dict[str, Any] = env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'db.sqlite3'}")
    if config["ENGINE"] == "django.db.backends.sqlite3":
        config["OPTIONS"] = {
            "timeout": 10,  # seconds a writer waits for another
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        }
    if config["ENGINE"] == "django.db.backends.postgresql":
        config["OPTIONS"] = {"connect_timeout": 2, "tcp_user_timeout": 2000, **config.get("OPTIONS", {})}
    config["ENGINE"] = config["ENGINE"].replace("django.db.", "django_prometheus.db.")  # the same, and counts
    return config


DATABASES = {"default": database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

EMBEDDED_VALKEY = not env.str("REDIS_URL", default="")  # `manage.py up` starts it
REDIS_URL: str = default_url(VAR_DIR) if EMBEDDED_VALKEY else env.str("REDIS_URL")


def cache(client_name: str, *, timeout_seconds: float = 1) -> dict[str, Any]:
    """Return a django-redis cache on REDIS_URL that fails fast and never sends a command twice.

    django-redis shares one connection pool per URL: the client name keeps the pools of two aliases apart.
    """
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"{REDIS_URL}{'&' if '?' in REDIS_URL else '?'}client_name={client_name}",
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": min(0.5, timeout_seconds),
            "SOCKET_TIMEOUT": timeout_seconds,
            "CONNECTION_POOL_KWARGS": plain(),
        },
    }


# Where calls are counted: together with the call itself, which waits for "queue", this stays below 2 s in an outage
CACHES = {"default": cache("cache", timeout_seconds=0.25) | {"KEY_PREFIX": "cache"}, "queue": cache("queue")}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True  # serves the apps' own files: no collectstatic step, nothing written

EMAIL_TIMEOUT = 10  # seconds; a mute SMTP server must not hold a worker's slot
vars().update(env.email_url("EMAIL_URL", default="consolemail://"))
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="jobs@localhost")

LOGGING = logging_config(
    LogOptions(
        level=env.str("LOG_LEVEL", default="INFO").strip().upper(),
        service=env.str("DD_SERVICE", default="") or env.str("OTEL_SERVICE_NAME", default="") or "jobapi",
        env=env.str("DD_ENV", default="") or env.str("ENVIRONMENT", default=""),
        version=VERSION,
        redact=env.list("LOG_REDACT", default=[]),
        file=env.str("LOG_FILE", default=""),
        tcp_url=env.str("LOG_TCP_URL", default=""),
        tcp_format=env.str("LOG_TCP_FORMAT", default="json"),
        tcp_tls=TlsFiles(
            ca=env.str("LOG_TCP_CA_FILE", default=""),
            certificate=env.str("LOG_TCP_CERTIFICATE_FILE", default=""),
            key=env.str("LOG_TCP_KEY_FILE", default=""),
        ),
    )
)
LOG_FIGURES = log_figures  # for what exposes them: it cannot import settings
ACCESS_LOG_SKIP: list[str] = env.list("ACCESS_LOG_SKIP", default=[])  # paths whose requests leave no line

# --- who may call ---

# The API does not start without: jobapi.checks
AUTH_MODE = env.str("AUTH_MODE", default="none" if DEBUG else "").strip()
PUBLIC_URL = env.str("PUBLIC_URL", default="").rstrip("/")  # how clients know this server; as they call it, when empty
OAUTH_ISSUER = env.str("OAUTH_ISSUER", default="")  # whose tokens are valid; our own exchange server's, when empty
OAUTH_AUDIENCE = env.str("OAUTH_AUDIENCE", default="")  # what the issuer calls this API
OAUTH_ALGORITHMS: list[str] = env.list("OAUTH_ALGORITHMS", default=["RS256", "PS256", "ES256", "EdDSA"])
OAUTH_TOKEN_TYPES: list[str] = env.list("OAUTH_TOKEN_TYPES", default=["at+jwt"])
OAUTH_CLIENT_CLAIM = env.str("OAUTH_CLIENT_CLAIM", default="client_id")
OAUTH_SCOPE_CLAIM = env.str("OAUTH_SCOPE_CLAIM", default="scope")
OAUTH_INTROSPECTION_CLIENT_ID = env.str("OAUTH_INTROSPECTION_CLIENT_ID", default="")  # tokens are opaque, when set
OAUTH_INTROSPECTION_CLIENT_SECRET = env.str("OAUTH_INTROSPECTION_CLIENT_SECRET", default="").strip()
OAUTH_CACHE_SECONDS = env.float("OAUTH_CACHE_SECONDS", default=60.0)  # a token taken back is good so long at most
OAUTH_TOKEN_SECONDS = env.int("OAUTH_TOKEN_SECONDS", default=3600)  # a token of our own lasts
MONITORING_TOKEN = env.str("MONITORING_TOKEN", default="").strip()
MONITORING_NETWORKS: list[str] = env.list("MONITORING_NETWORKS", default=[])
TRUSTED_PROXIES: list[str] = env.list("TRUSTED_PROXIES", default=[])  # networks whose X-Forwarded-* count

OAUTH2_PROVIDER_APPLICATION_MODEL = "oauth.Client"
OAUTH2_PROVIDER: dict[str, Any] = {
    "SCOPES": {
        "jobs:read": "Look at its own jobs, and at queues",
        "jobs:write": "Submit, cancel, requeue and delete its own jobs",
        "queues:manage": "Steer queues, and see and steer the jobs of all clients",
    },
    "SCOPES_BACKEND_CLASS": "jobapi.oauth.scopes.ClientScopes",
    "APPLICATION_ADMIN_CLASS": "jobapi.oauth.admin.ClientAdmin",
    "CLIENT_SECRET_HASHER": "pbkdf2_sha256_client",
    "ACCESS_TOKEN_EXPIRE_SECONDS": OAUTH_TOKEN_SECONDS,
    "REFRESH_TOKEN_EXPIRE_SECONDS": 30 * 24 * 3600,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "PKCE_REQUIRED": True,
    "ALLOWED_REDIRECT_URI_SCHEMES": ["https"] if PUBLIC_URL.startswith("https:") else ["https", "http"],
    "OIDC_ISS_ENDPOINT": PUBLIC_URL,
    "OAUTH2_RESPONSE_TYPES_SUPPORTED": ["code"],
    "OAUTH2_GRANT_TYPES_SUPPORTED": ["authorization_code", "client_credentials", "refresh_token"],
    # RFC 9700, Best Current Practice for OAuth 2.0 Security: all of it
    "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
    "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
    "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
    "COMPLIANT_BCP_RFC9700_REFRESH_TOKEN": True,
    "COMPLIANT_BCP_RFC9700_REDIRECT_URI_MATCHING": True,
    "COMPLIANT_BCP_RFC9700_PKCE_REQUIRED": True,
}

# --- staff ---

LOGIN_URL = "admin:login"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "jobapi.oauth.hashers.ClientSecretHasher",
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 5  # wrong passwords of one name from one address, before
AXES_COOLOFF_TIME = timedelta(minutes=15)  # without a try
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # a name alone would let anyone lock staff out
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_HTTPONLY = True

if PUBLIC_URL.startswith("https:"):
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
    CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
    SECURE_SSL_REDIRECT = True
    SECURE_SSL_HOST = PUBLIC_URL.removeprefix("https://")
    SECURE_REDIRECT_EXEMPT = ["^livez$", "^readyz$", "^metrics$"]  # asked from inside, past the proxy that has the TLS

# --- the dashboard ---

ENVIRONMENT = env.str("ENVIRONMENT", default="")  # a badge on every staff page: PRODUCTION
DASHBOARD_READ_ONLY = env.bool("DASHBOARD_READ_ONLY", default=False)  # there is nothing to change, for anybody
DASHBOARD_REFRESH_SECONDS: list[int] = env.list("DASHBOARD_REFRESH_SECONDS", cast=int, default=[5, 1, 30])
AGE_TARGET_SECONDS = env.float("AGE_TARGET_SECONDS", default=300.0)  # no ready job should wait longer
if AGE_TARGET_SECONDS <= 0 or min(DASHBOARD_REFRESH_SECONDS, default=1) < 1:
    raise ImproperlyConfigured("AGE_TARGET_SECONDS must lie above 0, and DASHBOARD_REFRESH_SECONDS be 1 or more each")
PAYLOAD_PREVIEW = env.bool("PAYLOAD_PREVIEW", default=True)  # lists of jobs show the beginning of payloads, masked
MASKED_KEYS: list[str] = env.list(  # what lies in payloads and results under a name with one of these is masked
    "MASKED_KEYS",
    default=[
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "authorization",
        "api_key",
        "access_key",
        "private_key",
        "credential",
        "cookie",
    ],
)
EXPORT_MAX_JOBS = env.int("EXPORT_MAX_JOBS", default=10_000)
LOG_LINK = env.str("LOG_LINK", default="")  # https://logs.example/?q={job_id}: where to find a job's log lines
if LOG_LINK and not re.match(r"https://[^/]|/(?![/\\])", LOG_LINK):
    raise ImproperlyConfigured("LOG_LINK must begin with https:// or, on this server, with /")

CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "EXCLUDE_URL_PREFIXES": ["/oauth/"],  # its forms lead back to a client, at an address of its own
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    },
}

# --- the API's front door: kept by jobapi ---


def rate_limit(name: str) -> tuple[int, int] | None:
    """Return the calls and the seconds of a limit such as 100/60; None, the default, sets no limit."""
    text = env.str(name, default="").strip()
    found = re.fullmatch("([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text)
    if text and not found:
        raise ImproperlyConfigured(f"{name} must be calls/seconds, such as 100/60, not {text!r}")
    return (int(found[1]), int(found[2])) if found else None


RATE_LIMITS = {"writes": rate_limit("RATE_LIMIT_WRITES"), "reads": rate_limit("RATE_LIMIT_READS")}  # of one client
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024  # above jobapi's own limits, which answer as problems
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_PARSER_CLASSES": [],  # jobapi.bodies reads the bodies
    "DEFAULT_RENDERER_CLASSES": ["jobapi.renderers.StructRenderer"],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "jobapi.openapi.CallSchema",
    "EXCEPTION_HANDLER": "jobapi.problems.answer_to",
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Job API",
    "DESCRIPTION": "Submit jobs; workers run them newest first. Errors are problem documents (RFC 9457).",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVERS": [{"url": "/", "description": "The server that gives this document."}],
    "LICENSE": {"name": "Proprietary", "identifier": "LicenseRef-Proprietary"},
    "POSTPROCESSING_HOOKS": [
        "jobapi.openapi.add_schemas",
        "jobapi.openapi.add_security",
        "jobapi.openapi.add_limits",
        "jobapi.openapi.add_links",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "validatorUrl": None,  # the default asks a host outside
    },
    "SWAGGER_UI_OAUTH2_CONFIG": {
        "clientId": env.str("DOCS_CLIENT_ID", default=""),
        "usePkceWithAuthorizationCodeGrant": True,
    },
    "TAGS": [
        {"name": "jobs", "description": "Submit jobs and follow them."},
        {"name": "queues", "description": "Look at queues, stop and start them, and set their limits."},
        {"name": "workers", "description": "See who works on what."},
        {"name": "probes", "description": "Whether the process lives, and can serve."},
    ],
}
# --- end of the API's front door ---
