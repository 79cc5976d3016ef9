"""What the queue raises.

QueueingError
├── InvalidJob            the job cannot be stored as given; nothing was stored
│   └── PayloadTooLarge
├── InvalidLimit          a queue cannot have such a limit; nothing was changed
├── QueueFull             as many jobs wait as the queue may hold; nothing was stored
├── SubmissionMismatch    the idempotency key was used for something else; nothing was stored
├── DurabilityNotMet      the job is stored, or not, but not as safely as was asked
├── JobNotFound           no job has this id (or it was pruned)
├── WrongState            the job is in a state from which this verb does not lead on
├── LeaseLost             the lease token is not the one that holds the job now
├── PayloadCorrupt        the stored bytes are not the ones that were submitted
├── BackupError           a backup or an export cannot be made, read or put back
│   └── TargetUnfit       the server's settings would lose what is restored; nothing was changed
└── StoreUnavailable      the database cannot be reached or refuses to serve
    └── StoreFull         its memory is nearly used up: nothing new is accepted
"""

from __future__ import annotations


class QueueingError(Exception):
    """Base of everything the queue raises on purpose."""


class InvalidJob(QueueingError):
    """The job cannot be stored as given. `field` names the argument, `reason` says what is wrong with it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class PayloadTooLarge(InvalidJob):
    """The payload has more than `limit_bytes` bytes."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__("payload", f"has {size_bytes} bytes, the limit is {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class InvalidLimit(QueueingError, ValueError):
    """A queue cannot have such a limit. `field` names it, `reason` says what is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class QueueFull(QueueingError):
    """As many jobs wait as the queue may hold; nothing was stored."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue} is full")
        self.queue = queue


class SubmissionMismatch(QueueingError):
    """The idempotency key was used before, for something else; nothing was stored."""

    def __init__(self) -> None:
        super().__init__("the idempotency key was used for another submission")


class DurabilityNotMet(QueueingError):
    """The job is not stored as safely as was asked. It may be stored less safely, and then may run.

    `job_id` is None when nothing was stored.
    """

    def __init__(self, level: str, reason: str, job_id: str | None = None) -> None:
        super().__init__(f"{level}: {reason}")
        self.level = level
        self.reason = reason
        self.job_id = job_id


class JobNotFound(QueueingError):
    """No job has this id: it never existed, was purged, or was pruned after its retention."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id}")
        self.job_id = job_id


class WrongState(QueueingError):
    """The verb does not lead on from the job's `state`; nothing was changed."""

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"job {job_id} is {state}")
        self.job_id = job_id
        self.state = state


class LeaseLost(QueueingError):
    """The lease token is not the one that holds the job now; nothing was changed."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the lease of job {job_id} is lost")
        self.job_id = job_id


class PayloadCorrupt(QueueingError):
    """The stored payload does not have the checksum it was submitted with."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the payload of job {job_id} is damaged")
        self.job_id = job_id


class BackupError(QueueingError):
    """A backup or an export cannot be made, read or put back; the text is for the person at a terminal."""


class TargetUnfit(BackupError):
    """The server's settings would lose what is restored; nothing was changed."""


class StoreUnavailable(QueueingError):
    """The database cannot be reached in time, or answers that it cannot serve now (`reason`)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StoreFull(StoreUnavailable):
    """The database's memory is nearly used up: nothing new is accepted, what is there goes on."""
