"""The handler `email.send`, against a real SMTP server."""

from __future__ import annotations

import email
import socket
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default
from types import SimpleNamespace
from typing import Any

import pytest
from django.core import mail
from pytest_django import Settings

from tests.worker.servers import SmtpServer
from worker.errors import GiveUp
from worker.handlers.email_send import email_send

JOB = SimpleNamespace(id="default_0192f0c1a2b37c4d8e5f60718293a4b5")
PAYLOAD = {
    "to": ["ann@example.org"],
    "subject": "Invoice 17",
    "body": "It is paid.\n",
    "from": "shop@example.com",
}


@pytest.fixture
def smtp(settings: Settings) -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        use(settings, server)
        yield server


def use(settings: Settings, server: SmtpServer) -> None:
    for name, value in server.email_settings.items():
        setattr(settings, name, value)


def parsed(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_message_arrives_as_the_payload_says(smtp: SmtpServer) -> None:
    email_send(PAYLOAD, JOB)

    (received,) = smtp.messages
    message = parsed(received.content)
    assert (received.sender, received.recipients) == ("shop@example.com", ["ann@example.org"])
    assert (message["From"], message["To"], message["Subject"]) == (
        "shop@example.com",
        "ann@example.org",
        "Invoice 17",
    )
    assert message.get_content() == "It is paid.\r\n"


def test_the_message_id_is_the_jobs_in_every_attempt(smtp: SmtpServer) -> None:
    results = [email_send(PAYLOAD, JOB), email_send(PAYLOAD, JOB)]

    ids = {parsed(received.content)["Message-ID"] for received in smtp.messages}
    assert ids == {f"<{JOB.id}@example.com>"}
    assert results == [{"message_id": f"<{JOB.id}@example.com>", "recipients": 1}] * 2


def test_copies_reply_addresses_html_and_any_script_arrive(smtp: SmtpServer) -> None:
    payload = {
        "to": ["Ann Łukaszewicz <ann@example.org>", '"Lee, Bob" <bob@example.org>'],
        "cc": ["carol@bücher.example"],
        "reply_to": ["help@example.com"],
        "from": "Shop <shop@example.com>",
        "subject": "Rechnung für März ✓",
        "body": "Grüße",
        "html": "<p>Grüße</p>",
    }

    result = email_send(payload, JOB)

    (received,) = smtp.messages
    message = parsed(received.content)
    assert received.recipients == ["ann@example.org", "bob@example.org", "carol@xn--bcher-kva.example"]
    assert [address.display_name for address in message["To"].addresses] == ["Ann Łukaszewicz", "Lee, Bob"]
    assert (message["Subject"], message["Reply-To"]) == ("Rechnung für März ✓", "help@example.com")
    html = message.get_body(("html",))
    assert html is not None
    assert html.get_content().strip() == "<p>Grüße</p>"
    assert result["recipients"] == 3


def test_the_default_sender_is_the_setting(smtp: SmtpServer, settings: Settings) -> None:
    settings.DEFAULT_FROM_EMAIL = "Jobs <jobs@example.net>"

    result = email_send({"to": ["ann@example.org"], "subject": "", "body": ""}, JOB)

    assert smtp.messages[0].sender == "jobs@example.net"
    assert result["message_id"].endswith("@example.net>")


@pytest.mark.parametrize("field", ["subject", "from", "to", "cc", "reply_to"])
@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n"])
def test_a_line_break_in_a_header_is_refused_and_nothing_is_sent(smtp: SmtpServer, field: str, line_break: str) -> None:
    injected = f"ann@example.org{line_break}Bcc: eve@example.org"
    value = injected if field in {"subject", "from"} else [injected]

    with pytest.raises(GiveUp, match="bad payload"):
        email_send({**PAYLOAD, field: value}, JOB)
    assert smtp.messages == []


@pytest.mark.parametrize(
    "address",
    [
        "ann",
        "ann@",
        "@example.org",
        "a@example.org, b@example.org",
        "a@example.org b@example.org",
        "<a@example.org",
        "",
        "everyone: a@example.org;",
        "a@example.org\x00",
        f"ann@{'x' * 64}.example",
        "ann@@example.org",
        "a b@example.org",
    ],
)
@pytest.mark.parametrize("field", ["to", "from"])
def test_what_is_not_one_address_is_refused_and_nothing_is_sent(smtp: SmtpServer, field: str, address: str) -> None:
    with pytest.raises(GiveUp, match="bad payload"):
        email_send({**PAYLOAD, field: address if field == "from" else [address]}, JOB)
    assert smtp.messages == []


@pytest.mark.parametrize(
    "change",
    [
        {"to": []},
        {"to": "ann@example.org"},
        {"to": [1]},
        {"subject": None},
        {"subject": "s" * 901},
        {"body": 1},
        {"bcc": ["eve@example.org"]},
        {"headers": {}},
        {"to": ["ann@example.org"] * 51},
        {"to": ["ann@example.org"] * 26, "cc": ["bob@example.org"] * 25},
    ],
)
def test_a_bad_payload_is_given_up(smtp: SmtpServer, change: dict[str, Any]) -> None:
    with pytest.raises(GiveUp, match="bad payload"):
        email_send({**PAYLOAD, **change}, JOB)
    assert smtp.messages == []


def test_fifty_recipients_are_taken(smtp: SmtpServer) -> None:
    payload = {**PAYLOAD, "to": ["ann@example.org"] * 25, "cc": ["bob@example.org"] * 25}

    assert email_send(payload, JOB)["recipients"] == 50
    assert len(smtp.messages[0].recipients) == 50


@pytest.mark.parametrize(
    "server",
    [
        {"refused": {"ann@example.org": "550 5.1.1 no such user"}},
        {"data_reply": "554 5.7.1 looks like spam"},
    ],
)
def test_a_permanent_refusal_gives_up_with_the_servers_reply(settings: Settings, server: dict[str, Any]) -> None:
    with SmtpServer(**server) as smtp:
        use(settings, smtp)

        with pytest.raises(GiveUp, match=r"refused the message: 55[04] 5\.[17]\.1 (no such user|looks like spam)"):
            email_send(PAYLOAD, JOB)


@pytest.mark.parametrize(
    "server",
    [{"refused": {"ann@example.org": "450 4.2.1 try later"}}, {"data_reply": "451 4.3.0 try later"}],
)
def test_a_temporary_refusal_is_raised_to_be_tried_again(settings: Settings, server: dict[str, Any]) -> None:
    with SmtpServer(**server) as smtp:
        use(settings, smtp)

        with pytest.raises(OSError, match="try later"):
            email_send(PAYLOAD, JOB)


def test_one_temporary_refusal_among_permanent_ones_is_tried_again(settings: Settings) -> None:
    refused = {"ann@example.org": "550 no such user", "bob@example.org": "450 try later"}
    with SmtpServer(refused=refused) as smtp:
        use(settings, smtp)

        with pytest.raises(OSError, match="try later"):
            email_send({**PAYLOAD, "to": [*refused]}, JOB)


def test_a_server_that_is_away_is_tried_again(settings: Settings) -> None:
    with SmtpServer() as smtp:
        use(settings, smtp)

    with pytest.raises(ConnectionRefusedError):
        email_send(PAYLOAD, JOB)


def test_a_server_that_says_nothing_is_left_after_the_time_limit(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_TIMEOUT = 0.1
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings.EMAIL_HOST, settings.EMAIL_PORT = mute.getsockname()

        with pytest.raises(OSError, match="timed out"):
            email_send(PAYLOAD, JOB)


def test_another_backend_is_used_when_the_settings_name_it(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"

    email_send(PAYLOAD, JOB)

    assert [message.subject for message in mail.outbox] == ["Invoice 17"]
