"""`manage.py up`: arguments and exit code; the work is in jobapi.launch."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from jobapi.launch import Launcher, LaunchError


class Command(BaseCommand):
    """Run Valkey, the API and one worker until Ctrl-C."""

    help = "Run Valkey (unless REDIS_URL is set), the API and one worker; Ctrl-C stops them in order."

    def handle(self, **_options: Any) -> None:
        """Exit with 0 when told to stop, with 1 when a part cannot start or ends by itself, with 78 as it says."""
        try:
            Launcher(self._say).run()
        except LaunchError as error:
            self.stderr.write(str(error))
            sys.exit(error.exit_code)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
