"""The test settings, with a handler that logs."""

from settings.test import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.system.logging"]  # noqa: F405
