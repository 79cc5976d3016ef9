"""A LIFO job queue on Redis or Valkey: the newest job is served first, under a lease, at least once.

>>> from queueing import Broker, NewJob, connect
>>> broker = Broker(connect("redis://localhost:6379/0"))
>>> broker.enqueue("default", NewJob.of("echo", {"hello": "world"}))
>>> job = broker.claim("default", worker="me").jobs[0]
>>> broker.ack(job)

`Broker` has every transition, `Inspector` reads. Nothing here needs Django but `queueing.conf`.
"""

from queueing.backoff import Backoff
from queueing.broker import Begun, Broker, Extended, Policy, Reaped, Step, new_claim_nonce
from queueing.codec import MAX_PAYLOAD_BYTES, encode, encode_result
from queueing.connections import connect
from queueing.durability import Durability
from queueing.errors import (
    BackupError,
    DurabilityNotMet,
    InvalidJob,
    InvalidLimit,
    JobNotFound,
    LeaseLost,
    PayloadCorrupt,
    PayloadTooLarge,
    QueueFull,
    QueueingError,
    StoreFull,
    StoreUnavailable,
    SubmissionMismatch,
    TargetUnfit,
    WrongState,
)
from queueing.figures import (
    AGE_BOUNDS_SECONDS,
    RUN_BOUNDS_SECONDS,
    WAIT_BOUNDS_SECONDS,
    Histogram,
    QueueHistory,
    Run,
    WaitingAges,
)
from queueing.inspector import Filters, Inspector, Listing, ListingMark, Page, PageMark, QueueStats, WorkerRecord
from queueing.jobs import (
    JOB_ID_PATTERN,
    KIND_PATTERN,
    QUEUE_PATTERN,
    Attempt,
    Claim,
    Claimed,
    Enqueued,
    Job,
    JobError,
    NewJob,
    State,
    Submission,
)
from queueing.limits import Limits, Retention

__all__ = [
    "AGE_BOUNDS_SECONDS",
    "JOB_ID_PATTERN",
    "KIND_PATTERN",
    "MAX_PAYLOAD_BYTES",
    "QUEUE_PATTERN",
    "RUN_BOUNDS_SECONDS",
    "WAIT_BOUNDS_SECONDS",
    "Attempt",
    "Backoff",
    "BackupError",
    "Begun",
    "Broker",
    "Claim",
    "Claimed",
    "Durability",
    "DurabilityNotMet",
    "Enqueued",
    "Extended",
    "Filters",
    "Histogram",
    "Inspector",
    "InvalidJob",
    "InvalidLimit",
    "Job",
    "JobError",
    "JobNotFound",
    "LeaseLost",
    "Limits",
    "Listing",
    "ListingMark",
    "NewJob",
    "Page",
    "PageMark",
    "PayloadCorrupt",
    "PayloadTooLarge",
    "Policy",
    "QueueFull",
    "QueueHistory",
    "QueueStats",
    "QueueingError",
    "Reaped",
    "Retention",
    "Run",
    "State",
    "Step",
    "StoreFull",
    "StoreUnavailable",
    "Submission",
    "SubmissionMismatch",
    "TargetUnfit",
    "WaitingAges",
    "WorkerRecord",
    "WrongState",
    "connect",
    "encode",
    "encode_result",
    "new_claim_nonce",
]
