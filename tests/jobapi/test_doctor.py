"""What `manage.py doctor` says when a part of the database cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from redis import Redis

from jobapi.management.commands import doctor
from queueing import StoreUnavailable
from queueing.audit import Fault, audit_queue
from queueing.connections import Client


def test_a_queue_that_cannot_be_reached_is_named_and_the_others_are_examined(
    valkey: Redis, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examined = []

    def audit(client: Client, queue: str, *, repair: bool) -> Iterator[Fault]:
        if queue == "mail":
            raise StoreUnavailable("the database cannot be reached")
        examined.append(queue)
        return audit_queue(client, queue, repair=repair)

    settings.QUEUES = ["default", "mail", "other"]
    monkeypatch.setattr(doctor, "audit_queue", audit)

    with pytest.raises(SystemExit) as end:
        call_command("doctor")

    said = capsys.readouterr().out
    assert end.value.code == 1
    assert examined == ["default", "other"]
    assert "queue mail was not examined: the database cannot be reached" in said
    assert "every job is where its record says" not in said
