"""The one base for development and production: everything that differs comes from the environment.

settings/catalogue.py declares each variable: its kind, default and meaning.
"""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF

from settings.catalogue import Settings
from settings.logs import LogOptions, log_figures, logging_config
from settings.shipping import TlsFiles

env = Settings(os.environ)
VARIABLES = env  # for what tells of them: it cannot import settings

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.VAR_DIR).resolve()


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


VERSION = env.DD_VERSION
DEBUG = env.DEBUG
SECRET_KEY = env.SECRET_KEY or kept_secret(VAR_DIR / "secret_key")
SECRET_KEY_FALLBACKS = env.SECRET_KEY_FALLBACKS
ALLOWED_HOSTS = env.ALLOWED_HOSTS

HOST = env.HOST
PORT = env.PORT
API_PROCESSES = env.API_PROCESSES
REQUEST_SECONDS = env.REQUEST_SECONDS
STAFF_USERNAME = env.STAFF_USERNAME
STAFF_PASSWORD = env.STAFF_PASSWORD

QUEUES = env.QUEUES
LEASE_SECONDS = env.LEASE_SECONDS
MEMORY_LIMIT_MB = env.MEMORY_LIMIT_MB
REDIS_REPLICA_URLS = env.REDIS_REPLICA_URLS
REDIS_REPLICA_MAX_AGE_SECONDS = env.REDIS_REPLICA_MAX_AGE_SECONDS
REPLICAS = env.REPLICAS
ALLOW_VOLATILE = env.ALLOW_VOLATILE
FAULTS = env.FAULTS
HTTP_REQUEST_ALLOWED_HOSTS = env.HTTP_REQUEST_ALLOWED_HOSTS

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
    "jobapi.counters.FirstMetricsMiddleware",
    "jobapi.throttling.ThrottlingMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "jobapi.dashboard.middleware.PolicyMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "jobapi.permissions.ScopeMiddleware",
    "jobapi.middleware.CallsMiddleware",  # takes calls past those from here on that are for pages
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
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
    config = env.DATABASE_URL
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

REDIS_URL = env.REDIS_URL
EMBEDDED_VALKEY = not env.is_given("REDIS_URL")  # `manage.py up` starts it


def cache(client_name: str, *, timeout_seconds: float = 1) -> dict[str, Any]:
    """Return a django-redis cache on REDIS_URL that fails fast and never sends a command twice.

    Each has a pool of its own, whose connections tell the server the client's name.
    """
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": [f"{REDIS_URL}{'&' if '?' in REDIS_URL else '?'}client_name={client_name}"],
        "OPTIONS": {
            "CONNECTION_FACTORY": "queueing.conf.StoreConnections",
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",  # the default, pickle, runs what it reads
            "SOCKET_CONNECT_TIMEOUT": min(0.5, timeout_seconds),
            "SOCKET_TIMEOUT": timeout_seconds,
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
vars().update(env.EMAIL_URL)
DEFAULT_FROM_EMAIL = env.DEFAULT_FROM_EMAIL

LOGGING = logging_config(
    LogOptions(
        level=env.LOG_LEVEL,
        service=env.DD_SERVICE,
        env=env.DD_ENV,
        version=VERSION,
        redact=env.LOG_REDACT,
        file=env.LOG_FILE,
        tcp_url=env.LOG_TCP_URL,
        tcp_format=env.LOG_TCP_FORMAT,
        tcp_tls=TlsFiles(ca=env.LOG_TCP_CA_FILE, certificate=env.LOG_TCP_CERTIFICATE_FILE, key=env.LOG_TCP_KEY_FILE),
    )
)
LOG_FIGURES = log_figures  # for what exposes them: it cannot import settings
ACCESS_LOG_SKIP = env.ACCESS_LOG_SKIP

# --- who may call ---

AUTH_MODE: Any = env.AUTH_MODE  # of the API none or oauth2: jobapi.checks lets it start with nothing else
PUBLIC_URL = env.PUBLIC_URL.rstrip("/")
OAUTH_ISSUER = env.OAUTH_ISSUER
OAUTH_AUDIENCE = env.OAUTH_AUDIENCE
OAUTH_ALGORITHMS = env.OAUTH_ALGORITHMS
OAUTH_TOKEN_TYPES = env.OAUTH_TOKEN_TYPES
OAUTH_CLIENT_CLAIM = env.OAUTH_CLIENT_CLAIM
OAUTH_SCOPE_CLAIM = env.OAUTH_SCOPE_CLAIM
OAUTH_INTROSPECTION_CLIENT_ID = env.OAUTH_INTROSPECTION_CLIENT_ID
OAUTH_INTROSPECTION_CLIENT_SECRET = env.OAUTH_INTROSPECTION_CLIENT_SECRET
OAUTH_CACHE_SECONDS = env.OAUTH_CACHE_SECONDS
OAUTH_TOKEN_SECONDS = env.OAUTH_TOKEN_SECONDS
MONITORING_TOKEN = env.MONITORING_TOKEN
MONITORING_NETWORKS = env.MONITORING_NETWORKS
TRUSTED_PROXIES = env.TRUSTED_PROXIES

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

ENVIRONMENT = env.ENVIRONMENT
AGE_TARGET_SECONDS = env.AGE_TARGET_SECONDS
DASHBOARD_READ_ONLY = env.DASHBOARD_READ_ONLY
DASHBOARD_REFRESH_SECONDS = env.DASHBOARD_REFRESH_SECONDS
MASKED_KEYS = env.MASKED_KEYS
PAYLOAD_PREVIEW = env.PAYLOAD_PREVIEW
EXPORT_MAX_JOBS = env.EXPORT_MAX_JOBS
LOG_LINK = env.LOG_LINK

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

RATE_LIMITS = {"writes": env.RATE_LIMIT_WRITES, "reads": env.RATE_LIMIT_READS}  # of one client
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
        "clientId": env.DOCS_CLIENT_ID,
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
