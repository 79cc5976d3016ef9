"""Our own exchange server: OAuth 2.0 clients trade their credentials for access tokens (RFC 6749)."""

from django.apps import AppConfig


class OauthConfig(AppConfig):
    """Names the app."""

    name = "jobapi.oauth"
    label = "oauth"
    verbose_name = "OAuth 2.0"
