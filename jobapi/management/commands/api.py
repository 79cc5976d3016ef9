"""`manage.py api`: examine the settings and the database server, then become granian."""

from __future__ import annotations

import os
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from jobapi import checks
from jobapi.launch import LaunchError, api_command, refuse_unfit_server


class Command(BaseCommand):
    """Serve the API on HOST:PORT until told to stop."""

    help = (
        "Serve the API on HOST:PORT until told to stop. Exits with 78 when the settings are wrong or the database "
        "server would lose jobs; a server that cannot be reached is waited for: /readyz says when it can be."
    )
    requires_system_checks = ()  # `manage.py check` is for a deployment, not for each start of it

    def handle(self, **_options: Any) -> None:
        """Become granian, unless something is wrong that starting again cannot mend."""
        if faults := checks.faults():
            raise ImproperlyConfigured("; ".join(faults))
        try:
            refuse_unfit_server()
            command = api_command()
        except LaunchError as error:
            raise CommandError(str(error), returncode=error.exit_code) from None
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
