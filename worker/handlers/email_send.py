"""`email.send`: one message through Django's e-mail backend."""

from __future__ import annotations

import smtplib
from email.errors import InvalidHeaderDefect, MessageError, NonPrintableDefect
from email.policy import default as strict_policy
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from django.conf import settings
from django.core.mail import EmailMultiAlternatives

from worker.errors import GiveUp
from worker.payloads import read_payload
from worker.registry import handler

if TYPE_CHECKING:
    from worker.context import JobContext

MAX_RECIPIENTS = 50

# Refusals of this installation and not of the message: a person can mend them while the job waits.
NOT_ABOUT_THE_MESSAGE = (smtplib.SMTPAuthenticationError, smtplib.SMTPConnectError, smtplib.SMTPHeloError)

BROKEN = (InvalidHeaderDefect, NonPrintableDefect)  # other defects are of style, as in `J. Doe <j@example.org>`

MailAddress = Annotated[str, msgspec.Meta(min_length=3, max_length=320)]
MailAddresses = Annotated[list[MailAddress], msgspec.Meta(max_length=MAX_RECIPIENTS)]


class EmailPayload(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, rename={"from_address": "from"}
):
    to: Annotated[list[MailAddress], msgspec.Meta(min_length=1, max_length=MAX_RECIPIENTS)]
    subject: Annotated[str, msgspec.Meta(max_length=900)]
    body: str
    from_address: MailAddress | None = None
    cc: MailAddresses = []
    reply_to: MailAddresses = []
    html: str | None = None


@handler("email.send")
def email_send(payload: Any, job: JobContext) -> dict[str, Any]:
    """Send the payload's message and return its `message_id` and the number of recipients.

    The Message-ID is the job's, the same in every attempt, so that a receiver can tell a second copy from a
    second message. Raise `GiveUp` for a message that can never be sent and for a permanent refusal; all
    else is retried.
    """
    wish = read_payload(payload, EmailPayload)
    message = _message(wish, job.id)
    try:
        message.send()
    except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as refusal:
        if _is_permanent(refusal):
            raise GiveUp(f"the mail server refused the message: {_reason(refusal)}") from refusal
        raise
    return {"message_id": message.extra_headers["Message-ID"], "recipients": len(message.recipients())}


def _message(wish: EmailPayload, job_id: str) -> EmailMultiAlternatives:
    """Return the message, or raise `GiveUp` if it cannot be written out, as with line breaks in a header."""
    if len(wish.to) + len(wish.cc) > MAX_RECIPIENTS:
        raise GiveUp(f"bad payload: more than {MAX_RECIPIENTS} recipients, `to` and `cc` together")
    try:
        message = _composed(wish, job_id)
        message.message()
    except (ValueError, MessageError) as error:
        raise GiveUp(f"bad payload: {error}") from error
    return message


def _composed(wish: EmailPayload, job_id: str) -> EmailMultiAlternatives:
    sender = wish.from_address or settings.DEFAULT_FROM_EMAIL
    for address in (*wish.to, *wish.cc, *wish.reply_to):
        _domain(address)
    message = EmailMultiAlternatives(
        subject=wish.subject,
        body=wish.body,
        from_email=sender,
        to=wish.to,
        cc=wish.cc,
        reply_to=wish.reply_to,
        headers={"Message-ID": f"<{job_id}@{_domain(sender)}>"},
    )
    if wish.html is not None:
        message.attach_alternative(wish.html, "text/html")
    return message


def _domain(address: str) -> str:
    """Return the domain of `user@domain` or `Name <user@domain>`; raise `ValueError` if it is not one."""
    try:
        header = strict_policy.header_factory("To", address)
        (mailbox,) = header.addresses
        domain: str = mailbox.domain
    except (ValueError, IndexError) as error:  # IndexError is how the parser takes "user@"
        raise ValueError(f"{address!r} is not one address") from error
    is_broken = any(isinstance(defect, BROKEN) for defect in header.defects)
    if is_broken or not domain or header.groups[0].display_name is not None:
        raise ValueError(f"{address!r} is not one address")
    return domain.encode("idna").decode("ascii")


def _is_permanent(refusal: smtplib.SMTPResponseException | smtplib.SMTPRecipientsRefused) -> bool:
    return not isinstance(refusal, NOT_ABOUT_THE_MESSAGE) and all(code >= 500 for code, _ in _replies(refusal))


def _reason(refusal: smtplib.SMTPResponseException | smtplib.SMTPRecipientsRefused) -> str:
    return "; ".join(f"{code} {_text(reply)}" for code, reply in _replies(refusal)[:3])


def _replies(
    refusal: smtplib.SMTPResponseException | smtplib.SMTPRecipientsRefused,
) -> list[tuple[int, bytes | str]]:
    if isinstance(refusal, smtplib.SMTPRecipientsRefused):
        return list(refusal.recipients.values())
    return [(refusal.smtp_code, refusal.smtp_error)]


def _text(reply: bytes | str) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
