"""Whether settings say who may call, and are spelt right: asked at the start of the API and by `manage.py check`."""

from __future__ import annotations

import ipaddress
import logging
from typing import Any

from django.conf import settings
from django.core.checks import Error, Tags, Warning, register  # noqa: A004 - Django names it so
from django.core.exceptions import ImproperlyConfigured

from jobapi.issuer import ALGORITHMS
from jobapi.outside import is_safe

MODES = ("none", "oauth2")

logger = logging.getLogger(__name__)


def faults() -> list[str]:
    """Return what is wrong with the settings, each in one line."""
    if settings.AUTH_MODE not in MODES:
        return ["AUTH_MODE must be chosen: oauth2, or none where only friends can reach the API"]
    found = _faults_of_networks()
    return [*found, *_faults_of_issuer()] if settings.AUTH_MODE == "oauth2" else found


def _faults_of_networks() -> list[str]:
    found = []
    for name in ("MONITORING_NETWORKS", "TRUSTED_PROXIES"):
        try:
            for network in getattr(settings, name):
                ipaddress.ip_network(network)
        except ValueError as error:
            found.append(f"{name}: {error}")
    return found


def _faults_of_issuer() -> list[str]:
    asks = bool(settings.OAUTH_INTROSPECTION_CLIENT_ID)
    wrong = {
        "PUBLIC_URL must be https, or http on this machine": settings.PUBLIC_URL and not is_safe(settings.PUBLIC_URL),
        "OAUTH_CACHE_SECONDS must be between 0 and 60": not 0 <= settings.OAUTH_CACHE_SECONDS <= 60,
    }
    if settings.OAUTH_ISSUER:
        wrong |= {
            "OAUTH_ISSUER must be https, or http on this machine": not is_safe(settings.OAUTH_ISSUER),
            "OAUTH_AUDIENCE must name this API, as the issuer does": not settings.OAUTH_AUDIENCE and not asks,
            f"OAUTH_ALGORITHMS may be {', '.join(sorted(ALGORITHMS))}": not ALGORITHMS.issuperset(
                settings.OAUTH_ALGORITHMS
            ),
            "OAUTH_INTROSPECTION_CLIENT_SECRET is missing": asks and not settings.OAUTH_INTROSPECTION_CLIENT_SECRET,
        }
    return [text for text, is_wrong in wrong.items() if is_wrong]


def doubts() -> list[str]:
    """Return which variables of the environment look misspelt, each in one line."""
    return [f"{name} is not read: is {meant} meant?" for name, meant in settings.VARIABLES.misspelt().items()]


def require_sound_settings() -> None:
    """Raise ImproperlyConfigured rather than let the API start open by mistake; warn of what may be meant otherwise."""
    found = faults()
    if found:
        raise ImproperlyConfigured("; ".join(found))
    for text in doubts():
        logger.warning(text, extra={"action": "setting_misspelt"})
    if settings.AUTH_MODE == "none":
        logger.warning(
            "anyone who reaches the API may use it: AUTH_MODE is none", extra={"action": "authorization_off"}
        )


@register(Tags.security, deploy=True)
def check_authorization(**_: Any) -> list[Error]:
    """Report the same as an error of `manage.py check --deploy`."""
    return [Error(text, id="jobapi.E001") for text in faults()]


@register
def check_spelling(**_: Any) -> list[Warning]:
    """Report variables that look misspelt."""
    return [Warning(text, id="jobapi.W001") for text in doubts()]
