"""The settings of a worker, with the handlers of the benchmarks."""

from settings.worker import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]  # noqa: F405
