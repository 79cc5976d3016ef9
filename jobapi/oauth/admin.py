"""Clients on the admin pages, for those who have the permission."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin
from oauth2_provider.forms import ApplicationForm

from jobapi.oauth.models import Client


class ClientAdmin(ModelAdmin):  # type: ignore[type-arg]
    """Add, change and delete clients; a secret is shown once, before it is saved."""

    form = ApplicationForm
    fields = (
        "name", "client_id", "client_secret", "client_type", "authorization_grant_type", "scope", "redirect_uris",
    )  # fmt: skip
    list_display = ("name", "client_id", "scope", "authorization_grant_type", "created")
    search_fields = ("name", "client_id")

    def formfield_for_choice_field(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Offer only the grants that our exchange server gives."""
        if db_field.name == "authorization_grant_type":
            kwargs["choices"] = [
                choice
                for choice in Client.GRANT_TYPES
                if choice[0] in (Client.GRANT_AUTHORIZATION_CODE, Client.GRANT_CLIENT_CREDENTIALS)
            ]
        return super().formfield_for_choice_field(db_field, request, **kwargs)
