from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from axes.models import AccessAttempt
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client as Browser
from django.utils import timezone

from jobapi.checks import faults, require_sound_settings
from settings.base import BASE_DIR
from tests.jobapi.auth.conftest import Party

PRODUCTION = {
    "PUBLIC_URL": "https://jobs.example.org",
    "SECRET_KEY": "canary-" * 10,
    "ALLOWED_HOSTS": "jobs.example.org",
}
ASK = """
import json
from settings.wsgi import application
from django.test import Client
client = Client(headers={"host": "jobs.example.org"}, raise_request_exception=False)
def told(page):
    cookies = {name: dict(cookie) for name, cookie in page.cookies.items()}
    return {"status": page.status_code, "headers": dict(page.headers), "cookies": cookies}
print("\\n" + json.dumps([told(client.get("/admin/login/", secure=secure)) for secure in (False, True)]))
"""


def run(tmp_path: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the base settings, on data of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    (tmp_path / "var").mkdir(exist_ok=True)
    settings = {"VAR_DIR": str(tmp_path / "var"), "DJANGO_SETTINGS_MODULE": "settings.base"}
    return subprocess.run(
        [sys.executable, *command], cwd=BASE_DIR, env=kept | settings | environment,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_api_does_not_start_until_somebody_has_chosen(tmp_path: Path) -> None:
    done = run(tmp_path, "-c", "import settings.wsgi")

    assert done.returncode != 0
    assert "ImproperlyConfigured: AUTH_MODE must be chosen" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("environment", [{"AUTH_MODE": "none"}, {"AUTH_MODE": "oauth2"}, {"DEBUG": "1"}])
def test_the_api_starts_when_somebody_has(tmp_path: Path, environment: dict[str, str]) -> None:
    done = run(tmp_path, "-c", "import settings.wsgi", **environment)

    assert done.returncode == 0, done.stderr
    assert ("authorization_off" in done.stdout) == (environment != {"AUTH_MODE": "oauth2"})


@pytest.mark.parametrize(
    "command", ["check", "spectacular", "showmigrations", "createclient --help", "runworker --help"]
)
def test_other_commands_need_no_choice(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, "manage.py", *command.split())

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mode", ["none", "oauth2"])
def test_check_deploy_is_clean_with_production_settings(tmp_path: Path, mode: str) -> None:
    done = run(tmp_path, "manage.py", "check", "--deploy", "--fail-level", "WARNING", AUTH_MODE=mode, **PRODUCTION)

    assert done.returncode == 0, done.stderr


def test_check_deploy_names_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "manage.py", "check", "--deploy", **PRODUCTION)

    assert done.returncode == 1
    assert "(jobapi.E001) AUTH_MODE must be chosen" in done.stderr


def test_up_on_an_address_of_others_refuses_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "manage.py", "up", HOST="0.0.0.0", PORT="0")

    assert done.returncode == 1
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)
    assert "AUTH_MODE must be set" in done.stderr


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"AUTH_MODE": "maybe"}, "AUTH_MODE"),
        ({"AUTH_MODE": ""}, "AUTH_MODE"),
        ({"OAUTH_ISSUER": "http://id.example.org", "OAUTH_AUDIENCE": "a"}, "OAUTH_ISSUER"),
        ({"OAUTH_ISSUER": "id.example.org", "OAUTH_AUDIENCE": "a"}, "OAUTH_ISSUER"),
        ({"OAUTH_ISSUER": "https://u:p@id.example.org", "OAUTH_AUDIENCE": "a"}, "OAUTH_ISSUER"),
        ({"OAUTH_ISSUER": "https://id.example.org"}, "OAUTH_AUDIENCE"),
        ({"OAUTH_ISSUER": "https://i.example", "OAUTH_AUDIENCE": "a", "OAUTH_ALGORITHMS": ["HS256"]}, "ALGORITHMS"),
        (
            {"OAUTH_ISSUER": "https://i.example", "OAUTH_INTROSPECTION_CLIENT_ID": "c"},
            "OAUTH_INTROSPECTION_CLIENT_SECRET",
        ),
        ({"OAUTH_CACHE_SECONDS": 61.0}, "OAUTH_CACHE_SECONDS"),
        ({"PUBLIC_URL": "http://jobs.example.org"}, "PUBLIC_URL"),
        ({"MONITORING_NETWORKS": ["10.0.0.1/8"]}, "MONITORING_NETWORKS"),
    ],
)
def test_settings_that_would_leave_a_door_open_are_refused_by_name(
    settings: LazySettings, changes: dict[str, object], text: str
) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)

    (fault,) = faults()

    assert text in fault
    with pytest.raises(ImproperlyConfigured, match=text):
        require_sound_settings()


def test_no_authorization_is_warned_of_at_the_start(settings: LazySettings, caplog: pytest.LogCaptureFixture) -> None:
    settings.AUTH_MODE = "none"

    require_sound_settings()

    assert [(line.levelno, line.__dict__["action"]) for line in caplog.records] == [
        (logging.WARNING, "authorization_off")
    ]


def test_with_https_cookies_are_for_https_alone_and_browsers_stay_with_it(tmp_path: Path) -> None:
    done = run(tmp_path, "-c", ASK, AUTH_MODE="oauth2", **PRODUCTION)

    plain, secure = json.loads(done.stdout.splitlines()[-1])
    assert (plain["status"], plain["headers"]["Location"]) == (301, "https://jobs.example.org/admin/login/")
    assert secure["status"] == 200
    assert secure["headers"]["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert secure["headers"]["X-Content-Type-Options"] == "nosniff"
    assert secure["headers"]["Referrer-Policy"] == secure["headers"]["Cross-Origin-Opener-Policy"] == "same-origin"
    (cookie,) = secure["cookies"].values()
    assert (list(secure["cookies"]), cookie["secure"], cookie["httponly"]) == (["__Host-csrftoken"], True, True)
    assert cookie["samesite"] == "Lax"


# Those who watch the system


@pytest.mark.parametrize("mode", ["none", "oauth2"])
def test_metrics_ask_for_the_token_when_one_is_set(api: Browser, settings: LazySettings, mode: str) -> None:
    settings.AUTH_MODE, settings.MONITORING_TOKEN = mode, "t0ken"

    answers = [api.get("/metrics", headers=each) for each in
               ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer t0ken"})]  # fmt: skip

    assert [answer.status_code for answer in answers][-1] == 200
    assert all(answer.status_code in (401, 403) for answer in answers[:2])
    assert all("WWW-Authenticate" in answer for answer in answers[:2])


@pytest.mark.parametrize(
    ("address", "status"),
    [("10.1.2.3", 200), ("::ffff:10.1.2.3", 200), ("fd00::1", 200), ("11.1.2.3", 401), ("127.0.0.1", 401), ("", 401)],
)
def test_metrics_are_for_the_networks_that_are_named(
    api: Browser, settings: LazySettings, address: str, status: int
) -> None:
    settings.MONITORING_NETWORKS = ["10.0.0.0/8", "fd00::/8"]

    assert api.get("/metrics", REMOTE_ADDR=address).status_code == status


def test_metrics_are_for_managers_when_nobody_is_named(api: Browser, alice: Party, manager: Party) -> None:
    assert api.get("/metrics").status_code == 401
    assert alice.ask("GET", "/metrics").status_code == 403
    assert manager.ask("GET", "/metrics").status_code == 200


def test_without_authorization_metrics_are_open_when_nobody_is_named(api: Browser, settings: LazySettings) -> None:
    settings.AUTH_MODE = "none"

    assert api.get("/metrics").status_code == 200


@pytest.mark.parametrize("mode", ["none", "oauth2"])
def test_a_probe_tells_monitors_and_staff_whether_authorization_is_on_and_nobody_else(
    api: Browser, admin_user: User, settings: LazySettings, mode: str
) -> None:
    settings.AUTH_MODE, settings.MONITORING_TOKEN = mode, "t0ken"
    staff = Browser(headers={"host": "localhost"})
    staff.force_login(admin_user, "django.contrib.auth.backends.ModelBackend")

    told = api.get("/readyz", headers={"Authorization": "Bearer t0ken"}).json()

    assert told["auth_mode"] == staff.get("/readyz").json()["auth_mode"] == mode
    assert api.get("/readyz").json() == api.get("/livez").json() == {"status": "ok"}


# Staff


def log_in(browser: Browser, password: str, address: str = "192.0.2.1", name: str = "admin") -> int:
    form = {"username": name, "password": password}
    return int(browser.post("/admin/login/?next=/admin/", form, REMOTE_ADDR=address).status_code)


def test_five_wrong_passwords_shut_the_door_to_that_name_from_that_address(api: Browser, admin_user: User) -> None:
    wrong = [log_in(api, "wrong") for _ in range(5)]

    right = log_in(api, "password")
    elsewhere = log_in(Browser(headers={"host": "localhost"}), "password", "192.0.2.2")
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))

    assert wrong == [200, 200, 200, 200, 429]
    assert (right, elsewhere) == (429, 302)
    assert log_in(api, "password") == 302


def test_a_session_is_another_after_the_login_and_dead_after_the_logout(api: Browser, admin_user: User) -> None:
    api.cookies["sessionid"] = "chosen-by-mallory"
    log_in(api, "password")
    session = api.cookies["sessionid"].value

    api.post("/admin/logout/")
    api.cookies["sessionid"] = session

    assert session != "chosen-by-mallory"
    assert api.get("/admin/").status_code == 302
