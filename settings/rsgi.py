"""The RSGI application that granian serves: Django behind the entrance that waits for bodies."""

import gc

from django.conf import settings

from jobapi.afterwards import afterwards
from jobapi.entrance import Entrance
from settings.wsgi import application as django

application = Entrance(
    django,
    body_seconds=settings.REQUEST_SECONDS,
    max_body_bytes=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
    trusted_proxies=settings.TRUSTED_PROXIES,
)
afterwards.start()

# What is loaded by now stays: to look for garbage in it, every few requests, took a tenth of their time
gc.collect()
gc.freeze()
gc.set_threshold(10_000, 10, 10)
