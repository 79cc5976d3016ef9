"""The settings of `manage.py runworker`: the base without the apps that only serve HTTP, which take 15 MiB a process.

Apps that are added to the base are here, too. Where one of them needs what is left out, name `settings.base` in
DJANGO_SETTINGS_MODULE.
"""

from settings.base import *  # noqa: F403

ONLY_FOR_HTTP = {
    "django.contrib.admin",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "oauth2_provider",
    "axes",
    "csp",
    "django_htmx",
    "jobapi",
    "jobapi.dashboard",
    "jobapi.oauth",
}

INSTALLED_APPS = [app for app in INSTALLED_APPS if app not in ONLY_FOR_HTTP]  # noqa: F405
