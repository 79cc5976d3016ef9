"""The base settings, with the handlers of the benchmarks."""

from settings.base import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]  # noqa: F405
