"""What a handler may raise to steer its attempt, and what the worker raises in it.

Exception
├── HandlerSignal
│   ├── RetryLater        raised by a handler: fail this attempt, run again after the delay
│   └── GiveUp            raised by a handler: the job is dead now, whatever attempts are left
└── AttemptInterrupted    raised by the worker inside the handler's thread
    ├── JobCancelled      somebody cancelled the job while it ran
    ├── AttemptTimeout    the attempt ran longer than the job's `timeout_seconds`
    └── LeaseLost         the lease is gone: another worker may run the job now
"""

MAX_DELAY_SECONDS = 366 * 86_400


class HandlerSignal(Exception):
    """Base of what a handler raises on purpose."""


class RetryLater(HandlerSignal):
    """Fail this attempt and run the job again `delay_seconds` from now, if attempts are left."""

    def __init__(self, delay_seconds: float, reason: str = "the handler asked to run later") -> None:
        if not 0 <= delay_seconds <= MAX_DELAY_SECONDS:
            raise ValueError(f"delay_seconds must lie between 0 and {MAX_DELAY_SECONDS}")
        super().__init__(reason)
        self.delay_seconds = delay_seconds


class GiveUp(HandlerSignal):
    """Make the job dead at once: no further attempt can help."""

    def __init__(self, reason: str = "the handler gave up") -> None:
        super().__init__(reason)


class AttemptInterrupted(Exception):
    """Base of what the worker raises inside a handler's thread to make it stop."""


class JobCancelled(AttemptInterrupted):
    """The job was cancelled while this attempt ran."""


class AttemptTimeout(AttemptInterrupted):
    """The attempt ran longer than the job allows."""


class LeaseLost(AttemptInterrupted):
    """The lease of this attempt is gone; whatever it still does must not count."""
