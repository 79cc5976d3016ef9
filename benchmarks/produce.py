"""Submit the jobs of one contestant, in that contestant's own environment.

    python -m benchmarks.produce MODULE FUNCTION CALLS [PAUSE_SECONDS]

calls `MODULE.FUNCTION` so often and prints, as JSON, for how many calls it took how many seconds and how much CPU time;
the first tenth, in which connections are made, is not in it.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import time
from collections.abc import Awaitable, Callable


def main() -> None:
    """Do as the command line says."""
    module, function, calls, *pause = sys.argv[1:]
    send = getattr(importlib.import_module(module), function)
    asyncio.run(_produce(send, int(calls), float(pause[0]) if pause else 0.0))


async def _produce(send: Callable[[], Awaitable[object] | None], calls: int, pause_seconds: float) -> None:
    is_async, skipped = inspect.iscoroutinefunction(send), min(calls // 10, 100)
    for n in range(calls):
        if n == skipped:
            began, began_cpu = time.perf_counter(), time.process_time()
        sent = send()
        if is_async and sent is not None:
            await sent
        if pause_seconds:
            time.sleep(pause_seconds)
    figures = {"calls": calls - skipped, "seconds": time.perf_counter() - began}
    print(json.dumps({**figures, "cpu_seconds": time.process_time() - began_cpu}))


if __name__ == "__main__":
    main()
