"""Every environment variable that the project reads: settings, `manage.py settings` and docs/settings.md come from it.

A section's docstring is its title in the reference. After a change: `manage.py settings --markdown > docs/settings.md`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from environ import Env

from queueing import QUEUE_PATTERN
from queueing.embedded import default_url
from settings.logs import FORMATS, LEVELS
from settings.variables import (
    FILE,
    FLAG,
    TEXT,
    URL,
    WORDS,
    Environment,
    Kind,
    Variable,
    choice,
    list_of,
    masked_url,
    matching,
    number,
    whole_number,
)

HERE = Path(__file__).resolve().parent.parent
ENGINES = {f"django.db.backends.{name}" for name in ("sqlite3", "postgresql", "mysql")}  # django-prometheus counts them
REDIS_SCHEMES = {"unix", *(tls + way for tls in ("redis", "rediss") for way in ("", "+sentinel", "+cluster"))}
HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^][:\s]+)(?::([0-9]{1,5}))?")


def database(text: str) -> dict[str, Any]:
    """Return Django's settings of the database that a URL names."""
    if not re.match("[a-z0-9]+://", text):
        raise ValueError(text)
    config: dict[str, Any] = Env.db_url_config(text)
    if config["ENGINE"] not in ENGINES:
        raise ValueError(text)
    return config


def email(text: str) -> dict[str, Any]:
    """Return Django's settings of e-mail for the server that a URL names."""
    config: dict[str, Any] = Env.email_url_config(text)
    return config


def redis(text: str) -> str:
    """Return a URL that queueing.connections can take."""
    scheme, _, rest = text.partition("://")
    hosts = re.split("[/?#]", rest.rpartition("@")[2])[0].split(",") if scheme != "unix" else []
    ports = [found and int(found[1] or 0) for found in map(HOST_AND_PORT.fullmatch, hosts)]
    if scheme not in REDIS_SCHEMES or not rest or any(port is None or port > 65_535 for port in ports):
        raise ValueError(text)
    return text


def one_server(text: str) -> str:
    """Return the URL of one server."""
    if "+" in text.partition("://")[0]:
        raise ValueError(text)
    return redis(text)


def rate_limit(text: str) -> tuple[int, int] | None:
    """Return the calls and the seconds of a limit such as 100/60; None without a text."""
    found = re.fullmatch("([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text)
    if text and not found:
        raise ValueError(text)
    return (int(found[1]), int(found[2])) if found else None


DATABASE = Kind("a URL such as postgres://USER:PASSWORD@HOST/NAME", database, masked_url)
MAIL = Kind("a URL such as smtp+tls://USER:PASSWORD@HOST:587", email, masked_url)
REDIS = Kind(
    "a URL: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (with TLS: rediss+...)",
    redis,
    masked_url,
)
REPLICAS_OF_REDIS = Kind(
    "a comma list of URLs of one server each: redis://, rediss:// or unix://",
    lambda text: [one_server(url) for url in text.split(",") if url],
    masked_url,
)
LIMIT = Kind("calls/seconds, such as 100/60", rate_limit)
QUEUE_NAMES = list_of(matching(QUEUE_PATTERN, "a name"), "a comma list of names: a-z, 0-9 and -, 63 characters at most")
LINK = matching(r"(https://[^/]|/(?![/\\])).*", "a link that begins with https:// or, on this server, with /")
PERIODS = list_of(whole_number(1), "a comma list of whole numbers of at least 1")


class General(Environment):
    """All processes."""

    VAR_DIR = Variable(
        FILE,
        str(HERE / "var"),
        "what a process keeps: the journal and databases of `make up`, the generated key, counters",
        shown="`var` beside `manage.py`",
    )
    SECRET_KEY = Variable(
        TEXT,
        "",
        "signs sessions and cursors; the same for all machines that serve the API",
        shown="made, and kept in `VAR_DIR/secret_key`",
        is_secret=True,
    )
    SECRET_KEY_FALLBACKS = Variable(
        WORDS, "", "keys of before, which go on being good while some use them", is_secret=True
    )
    DEBUG = Variable(FLAG, "0", "Django's debug pages; never where others can reach it")
    ENVIRONMENT = Variable(TEXT, "", "a badge on every staff page, such as `PRODUCTION`; and `env` of log lines")
    DATABASE_URL = Variable(
        DATABASE,
        lambda given: f"sqlite:///{Path(given.VAR_DIR).resolve() / 'db.sqlite3'}",
        "users, sessions, the audit and clients of our own exchange server",
        shown="SQLite in `VAR_DIR`",
    )


class Queues(Environment):
    """Queues and their database server."""

    REDIS_URL = Variable(
        REDIS,
        lambda given: default_url(Path(given.VAR_DIR).resolve()),
        "where the jobs are",
        shown="the server that `make up` starts, in `VAR_DIR`",
    )
    QUEUES = Variable(QUEUE_NAMES, "default", "the known queues; a submission to another is refused")
    LEASE_SECONDS = Variable(number(0.1, 3600), "30", "how long a silent worker keeps its jobs")
    REDIS_REPLICA_URLS = Variable(
        REPLICAS_OF_REDIS, "", "replicas that the API asks for queues, workers and lists of jobs; it tells their `Age`"
    )
    REDIS_REPLICA_MAX_AGE_SECONDS = Variable(
        number(1, 3600), "30", "a replica whose data may be older is asked only when the primary does not answer"
    )
    REPLICAS = Variable(whole_number(0, 100), "1", "replicas that must have a job submitted as `replicated`")
    ALLOW_VOLATILE = Variable(FLAG, "0", "accept a database server without a journal: its death loses jobs")


class Api(Environment):
    """The API."""

    HOST = Variable(TEXT, "127.0.0.1", "where it listens")
    PORT = Variable(whole_number(0, 65_535), "8000", "where it listens")
    API_PROCESSES = Variable(
        whole_number(1, 64),
        "1",
        "processes that serve it, 32 requests at a time each; several count together in `VAR_DIR/metrics-HOST-PORT`, "
        "which is emptied at each start",
    )
    REQUEST_SECONDS = Variable(
        number(1, 60),
        "30",
        "time a client has for the head of a request, and for its body; an idle connection is closed after it, too",
    )
    PUBLIC_URL = Variable(
        URL,
        "",
        "how clients know it, `https://jobs.example.org`: cookies, HSTS and redirects follow from it, and it is our "
        "exchange server's issuer",
        shown="the name by which they call",
    )
    ALLOWED_HOSTS = Variable(WORDS, "localhost,127.0.0.1,[::1]", "names by which it may be called")
    TRUSTED_PROXIES = Variable(
        WORDS,
        "",
        "networks of the proxies in front (`10.0.0.0/24`): what they say in `X-Forwarded-For`, `-Proto` and `-Host` "
        "counts, and nothing that others say; they must overwrite what a client sent, or append to the first",
    )
    RATE_LIMIT_WRITES = Variable(LIMIT, "", "calls of one client that change something", shown="no limit")
    RATE_LIMIT_READS = Variable(LIMIT, "", "calls of one client that look", shown="no limit")
    STAFF_USERNAME = Variable(TEXT, "admin", "made by `make up` when there is no such user")
    STAFF_PASSWORD = Variable(TEXT, "", "of that user", shown="generated, and shown once", is_secret=True)


class Callers(Environment):
    """Who may call, and who may watch."""

    AUTH_MODE = Variable(
        Kind("none or oauth2", str),
        lambda given: "none" if given.DEBUG else "",
        "whether callers need a token; the API does not start before one is chosen",
        shown="to be chosen; `none` with `DEBUG`, and for `make up` on this machine alone",
    )
    OAUTH_ISSUER = Variable(URL, "", "whose tokens are good, exactly as they name it; https", shown="our own server")
    OAUTH_AUDIENCE = Variable(TEXT, "", "what the issuer calls this API; needed for signed tokens")
    OAUTH_ALGORITHMS = Variable(WORDS, "RS256,PS256,ES256,EdDSA", "of signed tokens")
    OAUTH_TOKEN_TYPES = Variable(WORDS, "at+jwt", "`typ` of signed access tokens; some issuers say `JWT`")
    OAUTH_CLIENT_CLAIM = Variable(TEXT, "client_id", "where a token names its client; some issuers say `azp`")
    OAUTH_SCOPE_CLAIM = Variable(TEXT, "scope", "where a token names its scopes; some issuers say `scp`")
    OAUTH_INTROSPECTION_CLIENT_ID = Variable(
        TEXT, "", "with it tokens are opaque, and the issuer is asked about each, by this client"
    )
    OAUTH_INTROSPECTION_CLIENT_SECRET = Variable(TEXT, "", "of that client", is_secret=True)
    OAUTH_CACHE_SECONDS = Variable(
        number(0, 60), "60", "a good token is not looked at again so long: one taken back is good until then"
    )
    OAUTH_TOKEN_SECONDS = Variable(whole_number(1, 86_400), "3600", "how long a token of our own server lasts")
    DOCS_CLIENT_ID = Variable(TEXT, "", "the client that `/api/docs/` authorizes")
    MONITORING_TOKEN = Variable(TEXT, "", "a bearer token for `/metrics`, of the API and of workers", is_secret=True)
    MONITORING_NETWORKS = Variable(WORDS, "", "networks that may read `/metrics` without it: `10.0.0.0/8,fd00::/8`")


class Workers(Environment):
    """Workers and their handlers."""

    MEMORY_LIMIT_MB = Variable(
        whole_number(0),
        "0",
        "memory of a worker process, at least 128 and 16 for each slot; 0: no limit; `--memory-limit-mb` comes first",
    )
    HTTP_REQUEST_ALLOWED_HOSTS = Variable(
        WORDS, "", "`host` or `host:port` that `http.request` may call without https, or inside"
    )
    EMAIL_URL = Variable(MAIL, "consolemail://", "where `email.send` sends; the default prints")
    DEFAULT_FROM_EMAIL = Variable(TEXT, "jobs@localhost", "the sender of `email.send`")
    FAULTS = Variable(TEXT, "", "for tests: where a process fails on purpose (`queueing/fault_points.py`)")


class Dashboard(Environment):
    """The dashboard."""

    AGE_TARGET_SECONDS = Variable(
        number(1, 10**9), "300", "no ready job should wait longer: the dashboard and an alert measure by it"
    )
    DASHBOARD_READ_ONLY = Variable(FLAG, "0", "nothing can be changed there, by anybody")
    DASHBOARD_REFRESH_SECONDS = Variable(
        PERIODS, "5,1,30", "how often pages may renew themselves; the first is the usual choice"
    )
    MASKED_KEYS = Variable(
        WORDS,
        "password,passwd,passphrase,secret,token,authorization,api_key,access_key,private_key,credential,cookie",
        "what lies in payloads and results under a name with one of these is masked, whatever its case, hyphens and "
        "underscores",
    )
    PAYLOAD_PREVIEW = Variable(FLAG, "1", "lists of jobs show the beginning of payloads, masked")
    EXPORT_MAX_JOBS = Variable(whole_number(1), "10000", "jobs of one export")
    LOG_LINK = Variable(
        LINK,
        "",
        "where to find a job's log lines: `https://logs.example.org/?q={job_id}`, also with `{request_id}`, `{queue}` "
        "and `{kind}`",
    )


class Logs(Environment):
    """Logs."""

    LOG_LEVEL = Variable(choice(*LEVELS), "INFO", "the least level that is written")
    LOG_FILE = Variable(FILE, "", "appended to by every process that has the setting; made with mode 0640")
    LOG_TCP_URL = Variable(URL, "", "a sink of lines: `tcp://host:port`, or `tls://host:port`")
    LOG_TCP_FORMAT = Variable(
        choice(*FORMATS),
        "json",
        "`json`: lines that end with LF; `rfc5424`: syslog messages with their length in front, the line as their text",
    )
    LOG_TCP_CA_FILE = Variable(FILE, "", "PEM: who may vouch for the sink", shown="the system's")
    LOG_TCP_CERTIFICATE_FILE = Variable(
        FILE, "", "PEM: what we show to a sink that asks; read anew for each connection"
    )
    LOG_TCP_KEY_FILE = Variable(FILE, "", "PEM: its key", shown="in the same file")
    LOG_REDACT = Variable(WORDS, "", "more names whose values are not written")
    ACCESS_LOG_SKIP = Variable(WORDS, "", "paths whose requests leave no line: `/livez,/readyz,/metrics`")
    DD_SERVICE = Variable(
        TEXT,
        lambda given: given.OTEL_SERVICE_NAME or "jobapi",
        "`service` of log lines (with the next two Datadog's unified service tags)",
        shown="`OTEL_SERVICE_NAME`, or `jobapi`",
    )
    DD_ENV = Variable(TEXT, lambda given: given.ENVIRONMENT, "`env` of log lines", shown="`ENVIRONMENT`")
    DD_VERSION = Variable(TEXT, "0.1.0", "`version` of log lines, and of metrics", shown="the release")


class Traces(Environment):
    """Traces: what OpenTelemetry reads by itself, from the environment alone."""

    OTEL_EXPORTER_OTLP_ENDPOINT = Variable(
        URL, "", "where spans go, `http://collector:4318`; without it there are none", is_ours=False
    )
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = Variable(
        URL, "", "the same, with the whole path: `http://collector:4318/v1/traces`", is_ours=False
    )
    OTEL_EXPORTER_OTLP_HEADERS = Variable(TEXT, "", "sent with them", is_secret=True, is_ours=False)
    OTEL_SERVICE_NAME = Variable(TEXT, "", "`service.name` of spans", shown="`DD_SERVICE`, or `jobapi`", is_ours=False)
    OTEL_RESOURCE_ATTRIBUTES = Variable(TEXT, "", "more of what spans say of their process", is_ours=False)
    OTEL_TRACES_SAMPLER = Variable(TEXT, "", "which traces are kept", shown="`parentbased_always_on`", is_ours=False)
    OTEL_TRACES_SAMPLER_ARG = Variable(TEXT, "", "a number for it, such as a share", is_ours=False)
    OTEL_SDK_DISABLED = Variable(TEXT, "false", "`true`: no spans at all", is_ours=False)


class Settings(General, Queues, Api, Callers, Workers, Dashboard, Logs, Traces):
    """All of them."""
