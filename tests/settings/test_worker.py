"""The settings of `manage.py runworker`: what they leave out, and what handlers can count on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent

HANDLERS_NEED = """
import sys, django
django.setup()
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.template import engines
from django.template.loader import get_template
from worker.registry import load_handlers

call_command("migrate", verbosity=0)
User.objects.create_user("ann")
print(User.objects.count())
print(engines["django"].from_string("{{ word|upper }}").render({"word": "yes"}))
print(mail.send_mail("Hello", "you", None, ["ann@example.org"]))
print("echo" in load_handlers())
print(sorted({"rest_framework", "oauth2_provider", "django.contrib.admin", "jobapi.views"} & set(sys.modules)))
"""


def run(*command: str, var_dir: Path, **environment: str) -> str:
    """Run Python in the project as a shell would, without settings named unless they are given."""
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment = {**inherited, "VAR_DIR": str(var_dir), **environment}
    done = subprocess.run(  # not checked: one of the tests wants it to fail
        [sys.executable, *command],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_handler_has_models_templates_and_mail_and_nothing_that_serves_http_is_loaded(tmp_path: Path) -> None:
    printed = run(
        "-c",
        HANDLERS_NEED,
        var_dir=tmp_path,
        DJANGO_SETTINGS_MODULE="settings.worker",
        EMAIL_URL="dummymail://",
        DATABASE_URL=f"sqlite:///{tmp_path}/db",
    )

    assert printed.splitlines()[-5:] == ["1", "YES", "1", "True", "[]"]


def test_faults_are_armed_in_a_worker(tmp_path: Path) -> None:
    printed = run("manage.py", "runworker", var_dir=tmp_path, FAULTS="nowhere=exit:1")

    assert "there is no point 'nowhere'" in printed
