#!/usr/bin/env python3
"""Django's command line, with the base settings unless DJANGO_SETTINGS_MODULE names others."""

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.base")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
