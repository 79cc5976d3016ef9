from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import queueing
from queueing.embedded import EmbeddedServer

ROOT = Path(queueing.__file__).parent.parent

WITHOUT_DJANGO = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"django", "django_redis", "rest_framework", "jobapi", "worker", "settings"}:
            raise ImportError(name + " must not be needed")

sys.meta_path.insert(0, Block())
from queueing import Broker, Inspector, NewJob, connect

client = connect(sys.argv[1])
broker = Broker(client)
broker.enqueue("public", NewJob.of("echo", {"hello": "world"}))
job = broker.claim("public", worker="me").jobs[0]
broker.ack(job)
print(job.value()["hello"], Inspector(client).job(job.id).state)
client.close()
"""


def test_all_names_every_public_name_once() -> None:
    public = {
        name
        for name, value in vars(queueing).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }

    assert set(queueing.__all__) == public
    assert len(queueing.__all__) == len(set(queueing.__all__))


def test_every_error_is_public() -> None:
    errors = {
        name
        for name, value in vars(queueing.errors).items()
        if isinstance(value, type) and issubclass(value, queueing.QueueingError)
    }

    assert errors <= set(queueing.__all__)


def test_the_library_works_where_django_cannot_be_imported(valkey_server: EmbeddedServer) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_DJANGO, valkey_server.url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout == "world succeeded\n"
