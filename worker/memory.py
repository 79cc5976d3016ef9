"""A limit to the memory of a worker process."""

from __future__ import annotations

import resource

OWN_MB = 128  # of a worker that runs nothing, rounded up
SLOT_MB = 16  # a thread's stack counts with its full size of 8 MB


def least_limit_mb(concurrency: int) -> int:
    """Return the lowest limit under which a worker can start and work."""
    return OWN_MB + SLOT_MB * concurrency


def limit_memory(limit_mb: int) -> None:
    """Let what goes beyond `limit_mb` raise MemoryError, here and in every process started from here.

    What counts is data: heap, stacks, private memory (RLIMIT_DATA). The address space, which RLIMIT_AS counts, is
    for a program of many threads ten times what it uses. Only Linux counts all of this.
    """
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 1024 * 1024, most))
