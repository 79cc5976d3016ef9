"""`manage.py createclient`: give a program access to the API, through our own exchange server."""

from __future__ import annotations

import argparse
import json
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from oauth2_provider.generators import generate_client_secret

from jobapi.oauth.models import Client


class Command(BaseCommand):
    """Make a client and print its credentials, the only time that its secret can be seen."""

    help = (
        "Make an OAuth 2.0 client and print its id and secret; the secret is kept hashed and cannot be shown again. "
        "With --redirect-uri: a client for people (authorization code with PKCE), which has no secret."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", help="what people call it")
        scopes = sorted(settings.OAUTH2_PROVIDER["SCOPES"])
        parser.add_argument(
            "--scope", action="append", required=True, choices=scopes, help="a right of its tokens; may be repeated"
        )
        parser.add_argument(
            "--redirect-uri", action="append", default=[], metavar="URI", help="where people come back to; repeatable"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_: Any, **options: Any) -> None:
        """Make the client and print what it needs."""
        secret = "" if options["redirect_uri"] else generate_client_secret()
        client = self._client(options, secret)
        credentials = {"client_id": client.client_id, "client_secret": secret}
        if options["json"]:
            self.stdout.write(json.dumps(credentials))
            return
        for name, value in credentials.items():
            self.stdout.write(f"{name:<14} {value or '(none: a client for people)'}")

    def _client(self, options: dict[str, Any], secret: str) -> Client:
        for_people = bool(options["redirect_uri"])
        client = Client(
            name=options["name"],
            client_secret=secret,
            client_type=Client.CLIENT_PUBLIC if for_people else Client.CLIENT_CONFIDENTIAL,
            authorization_grant_type=(
                Client.GRANT_AUTHORIZATION_CODE if for_people else Client.GRANT_CLIENT_CREDENTIALS
            ),
            redirect_uris=" ".join(options["redirect_uri"]),
            scope=" ".join(sorted(set(options["scope"]))),
        )
        try:
            client.full_clean()
            client.save()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        except DatabaseError as error:
            raise CommandError(f"the database of DATABASE_URL cannot be used: {error}") from None
        return client
