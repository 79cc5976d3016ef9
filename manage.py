#!/usr/bin/env python3
"""Django's command line, with the base settings, or a worker's, unless DJANGO_SETTINGS_MODULE names others."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h: starting again cannot help


def main() -> None:
    is_worker = sys.argv[1:2] == ["runworker"]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.worker" if is_worker else "settings.base")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
