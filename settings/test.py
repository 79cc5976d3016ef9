"""The base settings on a private VAR_DIR, whatever the developer's environment names.

TEST_VAR_DIR carries the directory on to the processes that tests start. The directory is made (and removed)
by tests/conftest.py: a type checker that loads these settings leaves nothing behind.
"""

import os
import secrets
import tempfile
from pathlib import Path

from settings.catalogue import Settings

runner = os.environ.get("PYTEST_XDIST_WORKER", "alone")  # of the processes that share the tests, each has a server

if not os.environ.get("TEST_VAR_DIR", "").endswith(f"-{runner}"):
    for variable in Settings.variables():
        os.environ.pop(variable.name, None)
        os.environ.pop(f"{variable.name}_FILE", None)
    private = Path(tempfile.gettempdir()) / f"jobapi-test-{secrets.token_hex(8)}-{runner}"
    os.environ["TEST_VAR_DIR"] = str(private)

os.environ["VAR_DIR"] = os.environ["TEST_VAR_DIR"]
os.environ.setdefault("SECRET_KEY", "only-for-tests")

from settings.base import *  # noqa: E402, F403 - the environment has to be set first

AUTH_MODE = AUTH_MODE or "none"  # noqa: F405
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", "jobapi.oauth.hashers.ClientSecretHasher"]
DATABASES["default"]["TEST"] = {"NAME": ":memory:"}  # noqa: F405 - as for Django's own engine, under xdist too
