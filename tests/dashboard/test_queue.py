from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import LazySettings
from django.test import Client

from queueing import Broker, JobError, NewJob, Retention, State
from tests.dashboard.conftest import BASE

PAGE = f"{BASE}queues/mail/"
HOSTILE = "<img src=x onerror=alert(1)>"


def test_every_state_leads_to_its_jobs(viewer: Client, broker: Broker) -> None:
    broker.enqueue_many("mail", [NewJob.of("echo")] * 2)

    text = viewer.get(PAGE).content.decode()

    for state in State:
        assert f'href="{BASE}jobs/?queue=mail&amp;state={state.value}"' in text
    assert "ready</span> <strong>2</strong>" in text


def test_its_limits_are_told_in_words(viewer: Client, broker: Broker) -> None:
    broker.configure(
        "mail",
        max_depth=500,
        overflow="drop_oldest",
        fair_every=10,
        timeout_ms=90_000,
        retention={State.DEAD: Retention(keep_ms=3_600_000, keep_count=7)},
    )

    text = viewer.get(PAGE).content.decode()

    for words in (
        "500; beyond, the oldest ready one expires",
        "at each 10th claim",
        "1m 30s",
        "<dt>Keeps dead jobs</dt><dd>1h, at most 7</dd>",
    ):
        assert words in text


def test_a_pause_shows_why_and_until_when(viewer: Client, broker: Broker) -> None:
    broker.pause("mail", reason=HOSTILE, until=datetime.now(UTC) + timedelta(minutes=30, seconds=5))

    text = viewer.get(PAGE).content.decode()

    assert "“&lt;img src=x onerror=alert(1)&gt;”; goes on" in text
    assert ">in 30m" in text
    assert "<img" not in text


def test_a_pause_made_here_shows_who_made_it(administrator: Client, viewer: Client) -> None:
    administrator.post(f"{PAGE}pause/", {"reason": "the relay is away", "confirmed": "yes"})

    text = viewer.get(PAGE).content.decode()

    assert "“the relay is away”, by anna" in text


def test_a_pause_made_elsewhere_is_not_said_to_be_the_last_one_made_here(
    administrator: Client, viewer: Client, broker: Broker
) -> None:
    administrator.post(f"{PAGE}pause/", {"reason": "the relay is away", "confirmed": "yes"})
    broker.pause("mail", reason="deploy")

    text = viewer.get(PAGE).content.decode()

    assert "“deploy”" in text
    assert "by anna" not in text


@pytest.mark.parametrize(
    ("who", "buttons"),
    [("viewer", set()), ("operator", {"pause", "requeue"}), ("administrator", {"pause", "requeue", "purge"})],
)
def test_only_actions_that_the_viewer_may_do_are_offered(
    request: pytest.FixtureRequest, broker: Broker, who: str, buttons: set[str]
) -> None:
    broker.enqueue("mail", NewJob.of("echo", max_attempts=1))
    broker.fail(broker.claim("mail", "w").jobs[0], JobError(type="E", message=""))

    text = request.getfixturevalue(who).get(PAGE).content.decode()

    assert {name for name in ("pause", "resume", "requeue", "purge") if f'id="{name}"' in text} == buttons


def test_nothing_is_offered_while_the_dashboard_is_read_only(administrator: Client, settings: LazySettings) -> None:
    settings.DASHBOARD_READ_ONLY = True

    assert "formaction" not in administrator.get(PAGE).content.decode()


def test_a_paused_queue_can_be_resumed(operator: Client, broker: Broker) -> None:
    broker.pause("mail", reason="")

    text = operator.get(PAGE).content.decode()

    assert f'formaction="{PAGE}resume/"' in text
    assert 'id="pause"' not in text


def test_a_queue_that_is_not_known_is_not_found(viewer: Client) -> None:
    answer = viewer.get(f"{BASE}queues/<script>/")

    assert answer.status_code == 404
    assert "<script>/" not in answer.content.decode()


def test_it_leads_to_the_same_figures_in_the_api(viewer: Client) -> None:
    assert 'href="/api/v1/queues/mail"' in viewer.get(PAGE).content.decode()
