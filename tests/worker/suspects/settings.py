"""The test settings, with the handlers that tests run in cells."""

from settings.test import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.worker.suspects"]  # noqa: F405
