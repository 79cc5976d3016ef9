"""The clients of our exchange server."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from oauth2_provider.models import AbstractApplication, ApplicationManager


class Client(AbstractApplication):
    """A program that may get access tokens, and the scopes they may have."""

    scope = models.CharField(max_length=255, blank=True, help_text="Scopes its tokens may have, space separated")

    objects = ApplicationManager()

    class Meta(AbstractApplication.Meta):
        """What the admin pages call it."""

        verbose_name = "client"

    def clean(self) -> None:
        """Refuse scopes that do not exist."""
        super().clean()
        unknown = set(self.scope.split()) - settings.OAUTH2_PROVIDER["SCOPES"].keys()
        if unknown:
            raise ValidationError({"scope": f"There is no scope {', '.join(sorted(unknown))}."})
