"""The WSGI application that granian serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.base")

application = get_wsgi_application()

from jobapi.checks import require_sound_settings  # noqa: E402 - the apps have to be loaded first

require_sound_settings()
