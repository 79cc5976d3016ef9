"""Other queues, each as its documentation sets it up for jobs that run at least once, where it can.

Every module has `send_noop` and `send_stamp`, and `send_hundred` where there is a call for many jobs; they run in the
environments that `make peers` makes.
"""

from __future__ import annotations

TEXT = "x" * 88  # a payload of 100 bytes: {"text": "xxx..."}
