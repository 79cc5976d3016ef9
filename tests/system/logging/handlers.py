"""A handler that logs, and kills its process in its first attempt when asked to."""

from __future__ import annotations

import logging
import os
from typing import Any

from worker.context import JobContext
from worker.registry import handler

logger = logging.getLogger(__name__)


@handler("logging.say")
def say(payload: Any, job: JobContext) -> dict[str, int]:
    if payload["kills"] and job.attempt == 1:
        os._exit(1)
    logger.info("said", extra={"action": "said"})
    return {"pid": os.getpid()}
