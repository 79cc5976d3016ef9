"""Which scopes a client's tokens may have."""

from __future__ import annotations

from typing import Any

from oauth2_provider.scopes import SettingsScopes

from jobapi.oauth.models import Client


class ClientScopes(SettingsScopes):
    """Gives a client the scopes it was made with, all of them when it names none."""

    def get_available_scopes(self, application: Client | None = None, *_args: Any, **_kwargs: Any) -> list[str]:
        """Return the scopes of a client; all there are for the server's metadata."""
        if application is None:
            return list(self.get_all_scopes())
        return [scope for scope in application.scope.split() if scope in self.get_all_scopes()]

    get_default_scopes = get_available_scopes
