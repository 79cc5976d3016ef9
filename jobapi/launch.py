"""Run the whole product from one command: Valkey, the API and one worker, started and stopped in order.

    launcher ── Valkey    unless REDIS_URL names a server; the last to stop
             ├─ API       granian, answers on HOST:PORT
             └─ worker    `manage.py runworker`; the first to stop, so that it can give its jobs back

Each part lives in a session of its own: Ctrl-C in the terminal reaches the launcher alone, and the launcher
tells the parts. When the launcher itself is killed, the kernel tells them (see `queueing.lifeline`).
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DatabaseError, connections

from jobapi.outside import LOOPBACK
from queueing import StoreUnavailable
from queueing.audit import check_server, reasons_to_refuse
from queueing.conf import get_store
from queueing.embedded import EmbeddedServer, EmbeddedServerError
from queueing.lifeline import tied_to_us

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_SECONDS = 60  # the longest the API may take to its first answer
PROBE_SECONDS = 0.1  # between two questions to an API that starts
MAX_HEAD_BYTES = 64 * 1024  # of a request: its line and headers
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach an API that listens everywhere


class LaunchError(Exception):
    """The product cannot start or go on; the text is one line for the person at the terminal."""

    exit_code = 1


class UnfitServer(LaunchError):
    """The database server would lose jobs: starting again cannot help."""

    exit_code = 78  # EX_CONFIG of sysexits.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of the product; TERM stops it in order, within `stop_seconds`."""

    name: str
    process: subprocess.Popen[bytes]
    stop_seconds: float
    may_hurry: bool = True  # Valkey may not: at INT it would skip the last fsync of its journal

    def stop(self) -> bool:
        """Stop the part and what is left of its children; return False when it had to be killed."""
        self.process.terminate()
        try:
            self.process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        return True

    def hurry(self) -> None:
        """Tell a part that is stopping to stop at once, by INT: a second TERM may melt into the first."""
        if self.may_hurry:
            self.process.send_signal(signal.SIGINT)

    def ending(self) -> str:
        """Say how the part ended."""
        status = self.process.returncode
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"the {self.name} {how}"


class Launcher:
    """Starts the parts, watches them, and stops them in the opposite order; `say` prints a line for people.

    The first INT, TERM or HUP stops the parts in order; another hurries the one that is stopping.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._parts: list[Part] = []
        self._ended: queue.SimpleQueue[Part] = queue.SimpleQueue()
        self._stopping = False

    def run(self) -> None:
        """Run until told to stop; raise LaunchError when a part cannot start or ends by itself."""
        with self._signals():
            try:
                self._start()
                raise LaunchError(f"{self._ended.get().ending()}; stopping the rest")
            except KeyboardInterrupt:
                self.say("stopping")
            finally:
                self._stop()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            raise KeyboardInterrupt
        for part in self._parts[-1:]:
            part.hurry()

    def _start(self) -> None:
        require_auth_mode()
        require_free_address(settings.HOST, settings.PORT)
        if settings.EMBEDDED_VALKEY:
            self._start_valkey()
        refuse_unfit_server()
        self._prepare_database()
        self._spawn("API", api_command(), stop_seconds=20)
        self._spawn("worker", [sys.executable, "manage.py", "runworker"], stop_seconds=40)
        self._wait_until_ready()
        self._say_where()

    def _start_valkey(self) -> None:
        server = EmbeddedServer(settings.VAR_DIR)
        try:
            server.start()
        except EmbeddedServerError as error:
            raise LaunchError(str(error)) from error
        self._watch(Part(name="Valkey server", process=server.process, stop_seconds=20, may_hurry=False))

    def _prepare_database(self) -> None:
        try:
            call_command("migrate", interactive=False, verbosity=0)
            password = ensure_staff_user(settings.STAFF_USERNAME, settings.STAFF_PASSWORD)
        except DatabaseError as error:
            raise LaunchError(f"the database of DATABASE_URL cannot be prepared: {error}") from error
        finally:
            connections.close_all()
        if password:
            self.say(f"staff user {settings.STAFF_USERNAME}, password {password} (shown only this once)")

    def _spawn(self, name: str, command: list[str], *, stop_seconds: float) -> None:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            tied_to_us(command), cwd=settings.BASE_DIR, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._watch(Part(name=name, process=process, stop_seconds=stop_seconds))

    def _watch(self, part: Part) -> None:
        self._parts.append(part)
        self.say(f"{part.name} started, pid {part.process.pid}")
        threading.Thread(target=self._report_end, args=[part], daemon=True).start()

    def _report_end(self, part: Part) -> None:
        part.process.wait()
        self._ended.put(part)

    def _wait_until_ready(self) -> None:
        give_up_at = time.monotonic() + READY_SECONDS
        while (answer := readiness()) != "200":
            if time.monotonic() > give_up_at:
                raise LaunchError(f"the API is not ready after {READY_SECONDS} s: /readyz gives {answer}")
            with contextlib.suppress(queue.Empty):
                raise LaunchError(f"{self._ended.get(timeout=PROBE_SECONDS).ending()}; stopping the rest")

    def _say_where(self) -> None:
        base = f"http://{bracketed(settings.HOST)}:{settings.PORT}"
        self.say(f"API        {base}/api/v1/")
        self.say(f"docs       {base}/api/docs/")
        self.say(f"dashboard  {base}/dashboard/")
        self.say(f"metrics    {base}/metrics")
        if settings.AUTH_MODE != "oauth2":
            self.say("anyone who reaches it may use it; AUTH_MODE=oauth2 asks for a token")
        self.say(f"ready: {base}")

    def _stop(self) -> None:
        """Stop the parts, the last started first, each within its time."""
        self._stopping = True
        while self._parts:
            part = self._parts[-1]
            in_order = part.stop()
            self._parts.pop()
            late = f"was killed: it did not stop within {part.stop_seconds:g} s"
            self.say(f"{part.name} {'stopped' if in_order else late}")


def refuse_unfit_server() -> None:
    """Raise UnfitServer when the database server's settings would lose jobs.

    One that cannot be reached is no reason not to start: /readyz tells when it can, and examines it then.
    """
    try:
        unfit = reasons_to_refuse(check_server(get_store(), volatile_allowed=settings.ALLOW_VOLATILE))
    except StoreUnavailable:
        return
    if unfit:
        raise UnfitServer("; ".join(unfit))


def api_command() -> list[str]:
    """Return the command that serves the API; for several processes, make the folder in which they count."""
    # Two arenas for all threads: with one for each, what large bodies leave behind adds up (200 MiB against 115)
    variables = ["MALLOC_ARENA_MAX=2"]
    if settings.API_PROCESSES > 1:
        variables.append(f"PROMETHEUS_MULTIPROC_DIR={empty_metrics_folder()}")
    python = ["/usr/bin/env", *variables, sys.executable]
    granian = [*python, "-m", "granian", "--interface", "rsgi", "--log-level", "error"]
    address = ["--host", settings.HOST, "--port", str(settings.PORT)]
    # Of HTTP/1 alone: while granian waits to see which version a client speaks, no time limit holds
    protocol = ["--http", "1", "--no-ws", "--http1-buffer-size", str(MAX_HEAD_BYTES)]
    head_ms = round(settings.REQUEST_SECONDS * 1000)
    limits = ["--http1-header-read-timeout", str(head_ms), "--workers-kill-timeout", "10"]
    limits += ["--workers", str(settings.API_PROCESSES)]
    return [*granian, *address, *protocol, *limits, "settings.rsgi:application"]


def empty_metrics_folder() -> Path:
    """Return the folder for the counters of the API's processes, made anew; raise LaunchError when it cannot be.

    What a former run has left there would be added to the totals; the address tells the runs of one VAR_DIR apart.
    """
    require_free_address(settings.HOST, settings.PORT)  # else the counters of an API that runs would be lost
    folder = settings.VAR_DIR / f"metrics-{settings.HOST}-{settings.PORT}"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise LaunchError(f"several API processes need a folder for their counters: {error}") from error
    return folder


def ensure_staff_user(username: str, password: str) -> str | None:
    """Make the staff user unless there is one; return the password if it had to be generated.

    A user who is there keeps their password, whatever the environment says now.
    """
    users = get_user_model()
    if users.objects.filter(**{users.USERNAME_FIELD: username}).exists():
        return None
    generated = "" if password else secrets.token_urlsafe(12)
    users.objects.create_superuser(username, password=password or generated)
    return generated or None


def require_auth_mode() -> None:
    """Let the parts run without authorization where nobody else can reach them; elsewhere somebody has to choose."""
    if settings.AUTH_MODE:
        return
    if settings.HOST not in LOOPBACK:
        raise LaunchError(f"AUTH_MODE must be set, to oauth2 or none: others can reach {settings.HOST}")
    os.environ["AUTH_MODE"] = "none"


def require_free_address(host: str, port: int) -> None:
    """Raise LaunchError when nothing can listen on `host` and `port`."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        raise LaunchError(
            f"cannot listen on {bracketed(host)}:{port} ({error}): is it running already? set PORT to another"
        ) from error


def readiness() -> str:
    """Ask the API over HTTP whether it is ready; return the status it gives, or why there is none."""
    connection = HTTPConnection(WILDCARDS.get(settings.HOST, settings.HOST), settings.PORT, timeout=5)
    try:
        connection.request("GET", "/readyz", headers={"Host": own_host_name()})
        return str(connection.getresponse().status)
    except (OSError, HTTPException) as error:
        return f"no answer ({error})"
    finally:
        connection.close()


def own_host_name() -> str:
    """Return a name by which ALLOWED_HOSTS lets us ask."""
    first = next(iter(settings.ALLOWED_HOSTS), "*")
    return "localhost" if first == "*" else first.lstrip(".")


def bracketed(host: str) -> str:
    """Return `host` as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
