"""A limit to the memory of a worker process."""

from __future__ import annotations

import resource
from pathlib import Path

OWN_MB = 128  # of a worker that runs nothing, rounded up
SLOT_MB = 16  # a thread's stack counts with its full size of 8 MB


def least_limit_mb(concurrency: int) -> int:
    """Return the lowest limit under which a worker can start and work."""
    return OWN_MB + SLOT_MB * concurrency


def resident_mib() -> float | None:
    """Return how much memory this process has (RSS); None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * resource.getpagesize() / 1024**2, 1)


def limit_memory(limit_mb: int) -> None:
    """Let what goes beyond `limit_mb` raise MemoryError, here and in every process started from here.

    What counts is data: heap, stacks, private memory (RLIMIT_DATA). The address space, which RLIMIT_AS counts, is
    for a program of many threads ten times what it uses. Only Linux counts all of this.
    """
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 1024 * 1024, most))
