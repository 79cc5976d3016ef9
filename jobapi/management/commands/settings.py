"""`manage.py settings`: every setting, what it means, the value in force and where that comes from."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from jobapi import checks

INTRODUCTION = """\
# Settings

Everything that differs between installations comes from the environment. `X_FILE` names a file that holds the value of
`X`, such as a mounted secret, and comes before `X`; a value that is empty is as none. A program that is given a wrong
value does not start: it names it in one line, and ends with exit code 78.

`manage.py settings` shows the values in force, where each comes from, and names that look misspelt; `--changed` leaves
out what is left to its default, `--json` is for programs. Secrets, and passwords in URLs, are hidden. This page is what
`manage.py settings --markdown` prints.
"""


class Command(BaseCommand):
    """Print the settings that the environment decides."""

    help = (
        "Show every setting that comes from the environment: the value in force, where it comes from (environment, a "
        "file named by X_FILE, default) and what it means; secrets are hidden. Names that look misspelt come last."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print one JSON object")
        form.add_argument("--markdown", action="store_true", help="print docs/settings.md, without any values")
        parser.add_argument("--changed", action="store_true", help="only those that are not left to their default")

    def handle(self, **options: Any) -> None:
        """Print them in the form that is asked for."""
        entries = [entry for entry in settings.VARIABLES.entries() if entry.is_given or not options["changed"]]
        if options["markdown"]:
            self.stdout.write(as_markdown(settings.VARIABLES.entries()))
        elif options["json"]:
            report = {"settings": [dataclasses.asdict(entry) for entry in entries]}
            self.stdout.write(json.dumps(report | {"misspelt": settings.VARIABLES.misspelt()}, indent=2))
        else:
            self.stdout.write("\n".join(as_text(entries)))
            for doubt in checks.doubts():
                self.stdout.write(self.style.WARNING(doubt))


def as_text(entries: Iterable[Any]) -> Iterable[str]:
    """Yield lines for people: two for each setting, below the title of its section."""
    for title, section in itertools.groupby(entries, lambda entry: entry.section):
        yield f"{title}\n"
        for entry in section:
            instead = f" instead of {entry.default}" if entry.is_given and entry.default else ""
            yield f"  {entry.name}={entry.value}  ({entry.source}{instead})"
            yield f"      {entry.meaning}"
        yield ""


def as_markdown(entries: Iterable[Any]) -> str:
    """Return docs/settings.md, which is the same in every environment."""
    parts = [INTRODUCTION]
    for title, section in itertools.groupby(entries, lambda entry: entry.section):
        parts += [f"## {title}\n", "| variable | default | value | |\n|---|---|---|---|"]
        parts += [
            f"| `{entry.name}` | {entry.default or 'none'} | {_kind(entry)} | {entry.meaning} |" for entry in section
        ]
        parts.append("")
    return "\n".join(parts).rstrip()


def _kind(entry: Any) -> str:
    return f"{entry.what}; secret" if entry.is_secret else str(entry.what)
