"""The base settings, with the handlers of the fault tests."""

from settings.base import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.system.faults"]  # noqa: F405
