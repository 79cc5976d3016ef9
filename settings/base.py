"""The one base for development and production: everything that differs comes from the environment.

Each variable X may also be given as X_FILE, the path of a file that holds the value (a mounted secret).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environ import FileAwareEnv
from redis.backoff import NoBackoff
from redis.retry import Retry

from queueing.embedded import default_url
from settings.logs import logging_config

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


DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or kept_secret(VAR_DIR / "secret_key")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])

HOST = env.str("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
STAFF_USERNAME = env.str("STAFF_USERNAME", default="admin")
STAFF_PASSWORD = env.str("STAFF_PASSWORD", default="")

QUEUES: list[str] = env.list("QUEUES", default=["default"])
LEASE_SECONDS = env.float("LEASE_SECONDS", default=30.0)
if not 0 < LEASE_SECONDS <= 3600:
    raise ImproperlyConfigured("LEASE_SECONDS must lie above 0 and be at most 3600")
REPLICAS = env.int("REPLICAS", default=1)  # that must have a job submitted with durability `replicated`
ALLOW_VOLATILE = env.bool("ALLOW_VOLATILE", default=False)  # accept a database server without a journal
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
    "jobapi",
    "worker",
]

MIDDLEWARE = [
    "jobapi.middleware.FrontDoorMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
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
    return config


DATABASES = {"default": database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

EMBEDDED_VALKEY = not env.str("REDIS_URL", default="")  # `manage.py up` starts it
REDIS_URL: str = default_url(VAR_DIR) if EMBEDDED_VALKEY else env.str("REDIS_URL")


def cache(client_name: str) -> dict[str, Any]:
    """Return a django-redis cache on REDIS_URL that fails fast and never sends a command twice.

    django-redis shares one connection pool per URL: the client name keeps the pools of two aliases apart.
    """
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"{REDIS_URL}{'&' if '?' in REDIS_URL else '?'}client_name={client_name}",
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": 0.5,
            "SOCKET_TIMEOUT": 1,
            "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},
        },
    }


CACHES = {"default": cache("cache") | {"KEY_PREFIX": "cache"}, "queue": cache("queue")}

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

LOGGING = logging_config(env.str("LOG_LEVEL", default="INFO"))

# --- the API's front door: kept by jobapi ---
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_PARSER_CLASSES": [],  # jobapi.bodies reads the bodies
    "DEFAULT_RENDERER_CLASSES": ["jobapi.renderers.StructRenderer"],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "jobapi.problems.answer_to",
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Job API",
    "DESCRIPTION": "Submit jobs; workers run them newest first. Errors are problem documents (RFC 9457).",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": ["jobapi.openapi.add_schemas"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},  # the default asks a host outside
    "TAGS": [{"name": "jobs"}, {"name": "queues"}, {"name": "probes"}],
}
# --- end of the API's front door ---
