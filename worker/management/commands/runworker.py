"""`manage.py runworker`: arguments and exit code; the work is in worker.runner."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from queueing import QUEUE_PATTERN, StoreUnavailable
from queueing.audit import check_server, reasons_to_refuse
from queueing.conf import disconnect_store, get_broker, get_store, known_queues
from queueing.exposition import BuildInfo, Exposition, LogMirror
from queueing.metrics import QueueCollector
from worker import memory, signals, supervisor
from worker.metrics import MetricsServer, Monitors
from worker.registry import DuplicateHandler, HandlerRegistry, load_handlers
from worker.runner import Mode, Worker, WorkerOptions
from worker.service import Service
from worker.supervisor import EXIT_CONFIGURATION

EPILOG = """\
exit codes:
  0    done: drained, a limit was reached, or stopped by TERM or INT in order
  1    an error of the program
  2    wrong arguments
  69   --drain: the database could not be reached for 20 s
  70   stuck: no claim went through for 30 s, or a handler did not end when its time was over
  78   a wrong configuration; starting again cannot help
  130  INT came twice, 143 TERM came twice: what ran was given back at once

signals:
  TERM, INT  claim no more, finish what runs (up to --grace-seconds), give the rest back; the second time at once
"""


def positive(kind: type[int] | type[float]) -> Any:
    """Return an argument type for numbers above zero."""

    def parse(text: str) -> int | float:
        value = kind(text)
        if not 0 < value < 10**9:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    parse.__name__ = "positive " + kind.__name__
    return parse


class Command(BaseCommand):
    """Take jobs from queues, newest first, and run their handlers."""

    help = "Take jobs from queues, newest first, and run their handlers."
    requires_system_checks = ()  # they would import the whole API

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Keep the line breaks of the epilog."""
        return super().create_parser(
            prog_name,
            subcommand,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--queues", help="comma list, served in strict order; default: all known queues")
        parser.add_argument("--concurrency", type=positive(int), default=1, metavar="N", help="handler threads")
        parser.add_argument("--processes", type=positive(int), default=1, metavar="N", help="supervised children")
        life = parser.add_mutually_exclusive_group()
        life.add_argument("--drain", action="store_true", help="run what is ready, then exit (cron, systemd timer)")
        life.add_argument(
            "--interval",
            type=positive(float),
            metavar="SECONDS",
            help="drain, sleep until the next interval, repeat",
        )
        parser.add_argument("--max-jobs", type=positive(int), metavar="N", help="exit after N jobs (each process)")
        parser.add_argument("--max-seconds", type=positive(float), metavar="S", help="claim no more after S seconds")
        parser.add_argument(
            "--grace-seconds",
            type=float,
            default=30.0,
            metavar="S",
            help="time to finish after TERM or INT; default 30",
        )
        parser.add_argument(
            "--memory-limit-mb",
            type=int,
            metavar="N",
            help="of a process (Linux): a handler beyond it gets MemoryError; 0 for none; default MEMORY_LIMIT_MB",
        )
        parser.add_argument(
            "--metrics-port",
            type=positive(int),
            metavar="PORT",
            help="answer /metrics there, for Prometheus; with --processes each child takes a port, from PORT up",
        )
        parser.add_argument("--metrics-host", default="127.0.0.1", metavar="HOST", help="default 127.0.0.1")

    def handle(self, **options: Any) -> None:
        """Run the worker and exit with its code."""
        queues = self._queues(options["queues"])
        options["memory_limit_mb"] = self._memory_limit_mb(options["memory_limit_mb"], options["concurrency"])
        if not supervisor.is_child():  # a child may be started again while the server is a replica for a moment
            self._refuse_unfit_server()
        stop, service = signals.StopRequest(), Service.of_environment()
        signals.install(stop)
        if options["processes"] > 1:
            code = supervisor.Supervisor(
                self._child_command(options), options["processes"], stop, service=service
            ).run()
        else:
            code = self._work(queues, options, stop, service)
        sys.exit(code)

    def _work(self, queues: list[str], options: dict[str, Any], stop: signals.StopRequest, service: Service) -> int:
        if options["memory_limit_mb"]:
            memory.limit_memory(options["memory_limit_mb"])
        mode = Mode.DRAIN if options["drain"] else Mode.INTERVAL if options["interval"] else Mode.CONTINUOUS
        worker = Worker(
            get_broker(),
            self._handlers(),
            WorkerOptions(
                queues=queues,
                concurrency=options["concurrency"],
                mode=mode,
                interval_seconds=options["interval"] or 0.0,
                max_jobs=options["max_jobs"],
                max_seconds=options["max_seconds"],
                grace_seconds=max(0.0, options["grace_seconds"]),
                is_careful=supervisor.follows_a_crash(),
            ),
            stop,
            still_wanted=supervisor.parent_is_alive,
            service=service,
        )
        worker.prepare()
        if options["metrics_port"]:
            self._serve_metrics(options["metrics_host"], options["metrics_port"] + supervisor.child_number())
        return worker.run()

    def _handlers(self) -> HandlerRegistry:
        try:
            return load_handlers()
        except DuplicateHandler as error:
            raise CommandError(str(error), returncode=EXIT_CONFIGURATION) from None

    def _serve_metrics(self, host: str, port: int) -> None:
        exposition = Exposition(
            QueueCollector(get_store, known_queues, lambda: settings.AGE_TARGET_SECONDS),
            BuildInfo(settings.VERSION),
            logs=LogMirror(settings.LOG_FIGURES),
        )
        try:
            monitors = Monitors(settings.MONITORING_TOKEN, settings.MONITORING_NETWORKS)
            MetricsServer(host, port, exposition.text, monitors).start()
        except (OSError, OverflowError, ValueError) as error:
            text = f"--metrics-port: cannot answer on {host}, port {port}: {error}"
            raise CommandError(text, returncode=EXIT_CONFIGURATION) from None

    def _memory_limit_mb(self, given: int | None, concurrency: int) -> int:
        """Return the limit of the arguments or else the settings; one that a worker cannot live with is refused."""
        limit = settings.MEMORY_LIMIT_MB if given is None else given
        least = memory.least_limit_mb(concurrency)
        if limit and limit < least:
            named, code = ("--memory-limit-mb", 2) if given is not None else ("MEMORY_LIMIT_MB", EXIT_CONFIGURATION)
            text = f"{named}: {limit} is too little, {concurrency} slots need at least {least}; 0 is for no limit"
            raise CommandError(text, returncode=code)
        return int(limit)

    def _refuse_unfit_server(self) -> None:
        """Exit with 78 when the database server would lose jobs; one that cannot be reached yet is waited for."""
        try:
            findings = check_server(get_store(), volatile_allowed=settings.ALLOW_VOLATILE)
        except StoreUnavailable:
            return
        finally:
            disconnect_store()  # the fork server is to have none
        if unfit := reasons_to_refuse(findings):
            raise CommandError("; ".join(unfit), returncode=EXIT_CONFIGURATION)

    def _known_queues(self) -> list[str]:
        known = known_queues()
        wrong = [name for name in known if not re.fullmatch(QUEUE_PATTERN, name)]
        if wrong or not known:
            raise CommandError(
                f"QUEUES: {', '.join(wrong) or 'no queue'}; a name must match {QUEUE_PATTERN}",
                returncode=EXIT_CONFIGURATION,
            )
        return known

    def _queues(self, text: str | None) -> list[str]:
        known = self._known_queues()
        queues = [name.strip() for name in text.split(",")] if text else known
        unknown = [name for name in queues if name not in known]
        if unknown or len(set(queues)) != len(queues):
            wrong = ", ".join(name or "an empty name" for name in unknown) or "a queue named twice"
            raise CommandError(f"--queues: {wrong}; known queues: {', '.join(known)}", returncode=2)
        return queues

    def _child_command(self, options: dict[str, Any]) -> list[str]:
        arguments = ["runworker", "--concurrency", str(options["concurrency"])]
        arguments += ["--grace-seconds", str(options["grace_seconds"])]
        arguments += ["--memory-limit-mb", str(options["memory_limit_mb"])]
        for name in ("queues", "interval", "max_jobs", "max_seconds", "metrics_port", "metrics_host"):
            if options[name] is not None:
                arguments += [f"--{name.replace('_', '-')}", str(options[name])]
        return supervisor.child_command([*arguments, *(["--drain"] if options["drain"] else [])])
