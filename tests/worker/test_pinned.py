"""Connections to checked addresses, with one deadline."""

from __future__ import annotations

import socket

import httpcore2
import pytest

from worker.pinned import Deadline, DeadlineStream, PinnedBackend, tls_context


def test_a_deadline_gives_the_time_that_is_left_up_to_a_cap() -> None:
    deadline = Deadline(100)

    assert 99 < deadline.left() <= 100
    assert deadline.left(at_most=1) == 1


def test_a_deadline_that_has_passed_raises_timeout_error() -> None:
    with pytest.raises(TimeoutError, match="over"):
        Deadline(0).left()


def test_a_backend_without_endpoints_connects_nowhere() -> None:
    with pytest.raises(OSError, match="no address"):
        PinnedBackend([], Deadline(1)).connect_tcp("127.0.0.1", 80)


def test_writing_to_a_peer_that_hung_up_raises_write_error_so_that_an_early_answer_is_still_read() -> None:
    ours, theirs = socket.socketpair()
    stream = DeadlineStream(ours, Deadline(5))
    theirs.sendall(b"HTTP/1.1 413 Too Large\r\n")
    theirs.close()

    with pytest.raises(httpcore2.WriteError):
        stream.write(b"x" * 1_000_000)
    assert stream.read(100) == b"HTTP/1.1 413 Too Large\r\n"
    stream.close()


def test_a_write_goes_on_past_a_full_buffer_until_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    stream = DeadlineStream(ours, Deadline(0.1))

    with theirs, pytest.raises(TimeoutError):
        stream.write(b"x" * 10_000_000)
    stream.close()


def test_the_tls_context_verifies_names_and_certificates() -> None:
    context = tls_context()

    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
