"""The RSGI application that granian serves: Django behind the entrance that waits for bodies."""

from django.conf import settings

from jobapi.entrance import Entrance
from settings.wsgi import application as django

application = Entrance(
    django,
    body_seconds=settings.REQUEST_SECONDS,
    max_body_bytes=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
    trusted_proxies=settings.TRUSTED_PROXIES,
)
