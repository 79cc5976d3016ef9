"""`manage.py doctor`: whether the database server is fit to keep jobs, and what it keeps fits together."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from queueing import StoreUnavailable
from queueing.audit import AWAY, Fault, Finding, audit_queue, check_server
from queueing.conf import get_store, known_queues

EXIT_FAULTS = 1
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h


class Command(BaseCommand):
    """Examine the database server's settings, and every job of the known queues."""

    help = (
        "Examine the database server's settings, and whether every job's record agrees with the sets it is in. "
        "Read-only unless --repair; may run beside a live system. Exit codes: 0 all is well (or was mended), "
        "1 faults are left or a server cannot be reached, 78 the server's settings would lose jobs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--repair", action="store_true", help="put what is out of place where it belongs")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, **options: Any) -> None:
        """Examine, print, and exit with the verdict."""
        client = get_store()
        try:
            findings = check_server(client, volatile_allowed=settings.ALLOW_VOLATILE)
        except StoreUnavailable as error:
            raise CommandError(str(error)) from None
        faults: list[Fault] = []
        for queue in known_queues():
            try:
                faults.extend(audit_queue(client, queue, repair=options["repair"]))
            except StoreUnavailable as error:
                findings.append(Finding(level="error", code=AWAY, text=f"queue {queue} was not examined: {error}"))
        if options["json"]:
            self._print_json(findings, faults)
        else:
            self._print_text(findings, faults)
        sys.exit(self._verdict(findings, faults))

    def _print_json(self, findings: list[Finding], faults: list[Fault]) -> None:
        report = {
            "server": [dataclasses.asdict(finding) for finding in findings],
            "faults": [dataclasses.asdict(fault) for fault in faults],
        }
        self.stdout.write(json.dumps(report, indent=2))

    def _print_text(self, findings: list[Finding], faults: list[Fault]) -> None:
        for finding in findings:
            self.stdout.write(f"{finding.level:<8} {finding.text}")
        for fault in faults:
            self.stdout.write(f"{'mended' if fault.mended else 'fault':<8} {fault.kind} {fault.job_id}")
        if not faults and not any(finding.code == AWAY for finding in findings):
            self.stdout.write("ok       every job is where its record says")

    def _verdict(self, findings: list[Finding], faults: list[Fault]) -> int:
        errors = [finding.code for finding in findings if finding.level == "error"]
        if any(code != AWAY for code in errors):
            return EXIT_CONFIGURATION
        return EXIT_FAULTS if errors or any(not fault.mended for fault in faults) else 0
