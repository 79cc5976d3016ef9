"""What errors of the same cause have in common: the signature that failures are grouped by."""

from __future__ import annotations

import re
from pathlib import PurePath

from jobapi.dashboard.masking import mask_text
from queueing import JobError

MAX_MESSAGE_CHARS = 160

_QUOTED = re.compile(r"""(?<!\w)(?:'[^']*'|"[^"]*"|`[^`]*`)(?!\w)""")
_VARIABLE = re.compile(
    r"""
    (?P<address>\b\w+://\S+ | [\w.+-]+@[\w-]+\.[\w.-]+ | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b)
    | (?P<id>\b[a-z0-9][a-z0-9-]{0,62}_[0-9a-f]{32}\b | \b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b)
    | (?P<hex>\b0x[0-9a-f]+\b | \b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b)
    | (?P<number>(?<![a-z])[+-]?\d+(?:[.,:]\d+)*)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FRAME = re.compile(r'^\s*File "(?P<path>.+?)", line (?P<line>\d+)', re.MULTILINE)
_FOREIGN = re.compile(r"site-packages|dist-packages|[/\\]lib[/\\]python3|^<")


def signature_of(error: JobError) -> str:
    """Return type, message with placeholders for what varies, and the last line of our own that the traceback names."""
    message = normalised(mask_text(error.message))
    place = own_frame(error.traceback)
    return (f"{error.type}: {message}" if message else error.type) + (f" ({place})" if place else "")


def normalised(message: str) -> str:
    """Return a message with placeholders for quoted text, addresses, ids, hexadecimal and other numbers."""
    text = _QUOTED.sub("<text>", " ".join(message.split()))
    return _VARIABLE.sub(lambda found: f"<{found.lastgroup}>", text)[:MAX_MESSAGE_CHARS]


def own_frame(traceback: str) -> str:
    """Return `file:line` of the last frame outside libraries, or of the last one; empty without a traceback."""
    frames = [(frame["path"], frame["line"]) for frame in _FRAME.finditer(traceback)]
    own = [frame for frame in frames if not _FOREIGN.search(frame[0])] or frames
    if not own:
        return ""
    path, line = own[-1]
    return f"{PurePath(path).name}:{line}"
