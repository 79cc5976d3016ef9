"""Requests that no decent client sends: each is to be refused by a 4xx, or its connection closed.

A row is what is sent, in pieces with pauses between them. None of it may store a job or pause a queue: what is smuggled
would.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from jobapi.bodies import MAX_BODY_BYTES
from jobapi.launch import MAX_HEAD_BYTES
from jobapi.submissions import MAX_BULK_BYTES
from queueing import MAX_PAYLOAD_BYTES

JOB = b'{"kind":"echo"}'
JOBS = "/api/v1/jobs"
QUEUE = "/api/v1/queues/default"
ABSENT = f"{JOBS}/default_019a9f3c5d6e7f008192a3b4c5d6e7f8"
JSON = "Content-Type: application/json"

BODIED = {  # each call that reads a body
    "submit": ("POST", JOBS), "bulk": ("POST", f"{JOBS}/bulk"), "cancel": ("POST", f"{ABSENT}/cancel"),
    "requeue": ("POST", f"{ABSENT}/requeue"), "pause": ("POST", f"{QUEUE}/pause"),
    "resume": ("POST", f"{QUEUE}/resume"), "purge": ("POST", f"{QUEUE}/purge"),
    "requeue-dead": ("POST", f"{QUEUE}/requeue-dead"), "change": ("PATCH", QUEUE),
}  # fmt: skip


class Row(NamedTuple):
    """One hostile request."""

    name: str
    pieces: tuple[bytes, ...]
    pause: float = 0.0
    cut_off: bool = False  # the sending side is shut after the last piece


def head(line: str, *headers: str | bytes, host: str = "Host: localhost") -> bytes:
    """Return a request line and headers, the host among them unless it is empty."""
    lines = [line, *([host] if host else []), *headers]
    return b"".join((text if isinstance(text, bytes) else text.encode()) + b"\r\n" for text in lines) + b"\r\n"


def submission(*headers: str | bytes, body: bytes = JOB, type_: str = JSON, host: str = "Host: localhost") -> bytes:
    """Return a submission with these headers for its length."""
    return head(f"POST {JOBS} HTTP/1.1", *([type_] if type_ else []), *headers, host=host) + body


def sized(body: bytes, *headers: str | bytes, type_: str = JSON) -> bytes:
    """Return a submission whose length is told right."""
    return submission(*headers, f"Content-Length: {len(body)}", body=body, type_=type_)


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


SMUGGLED = head(f"POST {QUEUE}/pause HTTP/1.1", JSON, "Content-Length: 2") + b"{}"


def rows() -> list[Row]:
    """Return the table."""
    return [*lengths(), *chunks(), *smuggling(), *lines(), *targets(), *hosts(), *headers(), *media_types(),
            *documents(), *members(), *slowness()]  # fmt: skip


def lengths() -> Iterator[Row]:
    """Give bodies whose length is missing, no number, too large or a lie."""
    wrong = {
        "empty": "", "zero": "0", "negative": "-1", "signed": "+15", "letters": "1x", "hexadecimal": "0x0f",
        "decimal": "15.0", "exponent": "1e1", "list": "15, 16", "semicolon": "15;16", "space inside": "1 5",
        "quoted": '"15"', "wide digits": "\uff11\uff15", "2^63": str(2**63), "2^64": str(2**64),
        "2^64 + 15": str(2**64 + 15), "hundred digits": "1" * 100, "too short": "14",
    }  # fmt: skip
    yield Row("length: none", (submission(),))
    for name, length in wrong.items():
        yield Row(f"length: {name}", (submission(f"Content-Length: {length}"),))
    yield Row("length: NUL", (submission(b"Content-Length: 1\x005"),))
    yield Row("length: two", (submission("Content-Length: 15", "Content-Length: 16"),))
    yield Row("length: two, short first", (submission("Content-Length: 2", "Content-Length: 15", body=b"{}" + JOB),))
    yield Row("length: one byte missing", (submission("Content-Length: 16"),))
    yield Row("length: one byte missing, cut off", (submission("Content-Length: 16"),), cut_off=True)
    yield Row("length: nothing comes, cut off", (submission("Content-Length: 15", body=b""),), cut_off=True)
    yield Row("length: cut off in the head", (submission("Content-Length: 15")[:40],), cut_off=True)
    yield Row("length: body too large", (sized(JOB + b" " * MAX_BODY_BYTES),))
    yield Row(
        "length: bulk too large", (head(f"POST {JOBS}/bulk HTTP/1.1", JSON, f"Content-Length: {MAX_BULK_BYTES + 1}"),)
    )
    for name, (method, target) in BODIED.items():
        announced = head(f"{method} {target} HTTP/1.1", JSON, "Content-Length: 1073741824")
        yield Row(f"length: 1 GiB announced to {name}", (announced + b" " * 10_000,))


def chunks() -> Iterator[Row]:
    """Give bodies in chunks, in order or not; and codings that are none."""
    for name, (method, target) in BODIED.items():
        sent = head(f"{method} {target} HTTP/1.1", JSON, "Transfer-Encoding: chunked") + chunked(JOB)
        yield Row(f"chunks: for {name}", (sent,))
    codings = ["gzip, chunked", "chunked, gzip", "gzip", "identity", "chunked, chunked", "xchunked", "chunked;q=1", "",
               "chunked,", "Chunked", '"chunked"', "chunked\x0b"]  # fmt: skip
    for coding in codings:
        yield Row(f"chunks: coding {coding!r}", (submission(f"Transfer-Encoding: {coding}", body=chunked(JOB)),))
    bodies = {
        "size is no number": b"zz\r\n" + JOB + b"\r\n0\r\n\r\n", "negative size": b"-f\r\n" + JOB + b"\r\n0\r\n\r\n",
        "prefixed size": b"0xf\r\n" + JOB + b"\r\n0\r\n\r\n", "size over 2^64": b"f" * 17 + b"\r\n" + JOB,
        "size a lie": b"ff\r\n" + JOB + b"\r\n0\r\n\r\n", "no end": b"f\r\n" + JOB + b"\r\n",
        "no line ends": b"f" + JOB + b"0", "line feeds alone": b"f\n" + JOB + b"\n0\n\n",
        "long extension": b"f;" + b"x" * 100_000 + b"\r\n" + JOB + b"\r\n0\r\n\r\n",
        "many trailers": b"f\r\n" + JOB + b"\r\n0\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    }  # fmt: skip
    for name, body in bodies.items():
        yield Row(f"chunks: {name}", (submission("Transfer-Encoding: chunked", body=body),))
    old = head(f"POST {JOBS} HTTP/1.0", JSON, "Transfer-Encoding: chunked") + chunked(JOB)
    yield Row("chunks: HTTP/1.0", (old,))


def smuggling() -> Iterator[Row]:
    """Give requests that two servers in a row may cut at different places: the pause in them must not happen."""
    disguises: list[bytes] = [
        b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding:\tchunked",
        b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked", b" Transfer-Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"\x00Transfer-Encoding: chunked",
    ]  # fmt: skip
    ended = b"0\r\n\r\n" + SMUGGLED
    for disguise in disguises:
        whole = submission(disguise, f"Content-Length: {len(ended)}", body=ended)
        yield Row(f"smuggling: CL.TE {disguise!r}", (whole,))
        start = b"%x\r\n" % len(SMUGGLED)
        yield Row(
            f"smuggling: TE.CL {disguise!r}",
            (submission(f"Content-Length: {len(start)}", disguise, body=start + SMUGGLED + b"\r\n0\r\n\r\n"),),
        )
    yield Row("smuggling: CL.CL", (submission("Content-Length: 0", f"Content-Length: {len(SMUGGLED)}", body=SMUGGLED),))
    yield Row("smuggling: CL.0", (head("GET /nope HTTP/1.1", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED,))
    yield Row("smuggling: in a header", (head("GET /nope HTTP/1.1", b"X: y\r\n\r" + SMUGGLED),))
    yield Row("smuggling: after a refused length", (submission("Content-Length: -1", body=b"") + SMUGGLED,))
    yield Row("smuggling: after a refused name", (head("GET /nope HTTP/1.1", "bad name: x") + SMUGGLED,))
    yield Row("smuggling: after 1 GiB announced", (submission("Content-Length: 1073741824", body=b"") + SMUGGLED,))


def lines() -> Iterator[Row]:
    """Give request lines that are none, and other protocols."""
    for line in ["", "GET", "GET ", f"GET {JOBS}", f"GET {JOBS} HTTP", f"GET {JOBS} HTTP/0.9", f"GET {JOBS} HTTP/1.2x",
                 f"GET {JOBS} HTTP/2.0", f"GET {JOBS} HTTP/3", f"GET {JOBS} http/1.1", f"GET {JOBS} HTTP/11",
                 f"GET  {JOBS} HTTP/1.1", f"GET {JOBS}  HTTP/1.1", f"GET\t{JOBS}\tHTTP/1.1", f" GET {JOBS} HTTP/1.1",
                 f"GET {JOBS} HTTP/1.1 more", f"G\x00T {JOBS} HTTP/1.1", f"G(T {JOBS} HTTP/1.1"]:  # fmt: skip
        yield Row(f"line: {line!r}", (head(line),))
    for method in ["BREW", "TRACE", "PUT", "PROPFIND", "X" * 1_000]:
        yield Row(f"line: method {method[:10]}", (head(f"{method} {JOBS} HTTP/1.1"),))
    yield Row("line: CONNECT", (head("CONNECT example.org:443 HTTP/1.1", host="Host: example.org:443"),))
    yield Row("line: method of 100 KB", (head(f"{'X' * 100_000} {JOBS} HTTP/1.1"),))
    yield Row("protocol: HTTP/0.9", (b"GET /livez\r\n",))
    yield Row("protocol: HTTP/2 preface", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04" + bytes(5),))
    yield Row("protocol: TLS", (bytes.fromhex("16030102000100001fc0303f") + bytes(100),))
    yield Row("protocol: SMTP", (b"EHLO localhost\r\nMAIL FROM:<a@example.org>\r\n",))
    yield Row("protocol: Redis", (b"*1\r\n$8\r\nFLUSHALL\r\n",))
    yield Row("protocol: bytes", (bytes(range(256)) * 10,))
    yield Row("protocol: empty lines", (b"\r\n" * 5_000,))
    yield Row("protocol: PROXY", (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + head(f"GET {JOBS} HTTP/1.1"),))


def targets() -> Iterator[Row]:
    """Give targets that lead nowhere, or out."""
    found = [
        "*", "api/v1/jobs", f"http://evil.example{JOBS}", f"http://localhost:x{JOBS}", f"http://{JOBS}",
        f"https://localhost@evil.example{JOBS}", f"file://{JOBS}", f"//evil.example{JOBS}", "/api//v1/jobs",
        "/%2e%2e/", "/api/v1/../../../../etc/passwd", f"{JOBS}/%00", f"{JOBS}/%ff", f"{JOBS}/%zz", f"{JOBS}/%",
        f"{JOBS}/%2", f"{JOBS}/%2F..%2F", f"{JOBS}/a%0d%0aX: y", f"{JOBS}/\\..\\", f"{JOBS}/<x>", f"{JOBS}/{{x}}",
        f"{JOBS}/é", f"{JOBS};a=b", f"{JOBS}/{'a' * 10_000}", f"{JOBS}/{'%41' * 3_000}", f"/{'a/' * 5_000}",
        f"{JOBS}/default_%30", f"{QUEUE}%00", f"{QUEUE}/%2e%2e", "/static/../settings/base.py",
        "/static/%2e%2e/%2e%2e/settings/base.py", "/api/v1/queues/%7Bdefault%7D", "/livez/x", f"{JOBS}?limit=0",
        f"{JOBS}?limit=1000000000", f"{JOBS}?limit=1e9", f"{JOBS}?limit=%zz", f"{JOBS}?limit=1&limit=2",
        f"{JOBS}?state=%00", f"{JOBS}?kind=%ff", f"{JOBS}?cursor=%f0%28", f"{JOBS}?cursor={'A' * 20_000}",
        f"{JOBS}?nope=1", f"{JOBS}?queue=default%0d%0a", f"{JOBS}?created_after=yesterday",
        f"{JOBS}?{'&'.join(f'a{n}=b' for n in range(5_000))}", f"{JOBS}/../jobs?x[]=1",
    ]  # fmt: skip
    for target in found:
        yield Row(f"target: {target[:60]!r}", (head(f"GET {target} HTTP/1.1"),))
    yield Row("target: bytes", (head(f"GET {JOBS}/\x80\xff HTTP/1.1"),))
    yield Row("target: NUL", (head(f"GET {JOBS}/\x00 HTTP/1.1"),))
    yield Row("target: larger than a head", (head(f"GET /{'a' * 2 * MAX_HEAD_BYTES} HTTP/1.1"),))


def hosts() -> Iterator[Row]:
    """Give hosts that are not ours, or none."""
    for host in ["", "Host:", "Host: evil.example", "Host: localhost:x", "Host: localhost:99999x",
                 "Host: user@localhost", "Host: local host", "Host: [::1", "Host: localhost,evil.example",
                 "Host: localhost/x", "Host: .", "Host: é", "Host: localhost\r\nHost: evil.example",
                 "Host: localhost#", "Host: localhost\x00"]:  # fmt: skip
        yield Row(f"host: {host!r}", (submission("Content-Length: 15", host=host),))
    old = head(f"POST {JOBS} HTTP/1.0", JSON, "Content-Length: 15", host="") + JOB
    yield Row("host: none in HTTP/1.0", (old,))


def headers() -> Iterator[Row]:
    """Give headers that are malformed, too many or too large."""
    broken: list[bytes] = [
        b"no colon", b": no name", b"sp ace: x", b"trailing : x", b"tab\t: x", b"n\x00ul: x", b"paren(: x",
        b"\xff: x", b"nul: a\x00b", b"bell: a\x07b", b"delete: a\x7fb", b"return: a\rb", b"folded: a\r\n b",
        b"x:\x00", b"\x0b: x",
    ]  # fmt: skip
    for line in broken:
        yield Row(f"header: {line!r}", (submission(line, "Content-Length: 15"),))
    many = [f"X-{n}: y" for n in range(1_000)]
    yield Row("header: a thousand", (submission(*many, "Content-Length: 15"),))
    yield Row("header: large value", (submission(f"X: {'y' * 2 * MAX_HEAD_BYTES}", "Content-Length: 15"),))
    yield Row("header: large name", (submission(f"{'x' * 2 * MAX_HEAD_BYTES}: y", "Content-Length: 15"),))
    yield Row("header: 8 MiB", (submission(f"X: {'y' * 8_388_608}", "Content-Length: 15"),))
    yield Row("header: large cookie", (submission(f"Cookie: a={'b' * 2 * MAX_HEAD_BYTES}", "Content-Length: 15"),))
    for key in ["", "a b", '"open', "x" * 201, "ü"]:
        yield Row(
            f"header: idempotency key {key[:5]!r}", (submission(f"Idempotency-Key: {key}", "Content-Length: 15"),)
        )
    yield Row("header: accepts pages alone", (head(f"GET {JOBS} HTTP/1.1", "Accept: text/html"),))
    yield Row("header: accepts nothing", (head(f"GET {JOBS} HTTP/1.1", "Accept: nonsense"),))


def media_types() -> Iterator[Row]:
    """Give bodies of another type or coding than is read."""
    for type_ in ["", "Content-Type:", "Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded",
                  "Content-Type: multipart/form-data; boundary=x", "Content-Type: application/json; charset=utf-16",
                  "Content-Type: application/jsonx", "Content-Type: json", "Content-Type: */*", "Content-Type: \x01",
                  "Content-Type: application/xml", "Content-Type: application/json\r\nContent-Type: text/plain",
                  "Content-Type: application/merge-patch+json"]:  # fmt: skip
        yield Row(f"type: {type_!r}", (sized(JOB, type_=type_),))
    patch = head(f"PATCH {QUEUE} HTTP/1.1", "Content-Type: application/json-patch+json", "Content-Length: 2") + b"[]"
    yield Row("type: a JSON patch", (patch,))
    bomb = gzip.compress(bytes(100 * 1024 * 1024), mtime=0)
    for coding in ["gzip", "GZIP", "x-gzip", "gzip, gzip"]:
        yield Row(f"coding: {coding} bomb", (sized(bomb, f"Content-Encoding: {coding}"),))
    yield Row("coding: deflate", (sized(zlib.compress(JOB), "Content-Encoding: deflate"),))
    for coding in ["br", "zstd", "nonsense", ""]:
        yield Row(f"coding: {coding!r} over plain text", (sized(JOB, f"Content-Encoding: {coding}"),))


def documents() -> Iterator[Row]:
    """Give bodies that are no JSON, or JSON that readers understand differently."""
    deep = 100_000
    found: dict[str, bytes] = {
        "nested arrays": b'{"kind":"echo","payload":' + b"[" * deep + b"]" * deep + b"}",
        "nested objects": b'{"kind":"echo","payload":' + b'{"a":' * 40_000 + b"1" + b"}" * 40_000 + b"}",
        "nested, never closed": b"[" * 300_000,
        "too deep a payload": b'{"kind":"echo","payload":' + b"[" * 33 + b"]" * 33 + b"}", "half": JOB[:-1],
        "two": JOB + JOB, "space": b"   ", "comma": b'{"kind":"echo",}', "quotes": b"{'kind':'echo'}",
        "comment": b'{"kind":"echo"/**/}', "unquoted": b"{kind:1}", "null": b"null", "list": b"[" + JOB + b"]",
        "number": b"1", "text": b'"echo"', "open text": b'{"kind":"echo', "control in text": b'{"kind":"ec\nho"}',
        "BOM": b"\xef\xbb\xbf" + JOB, "UTF-16": JOB.decode().encode("utf-16"),
        "UTF-32": JOB.decode().encode("utf-32"), "NULs": bytes(1_000),
        "no UTF-8": b'{"kind":"echo","payload":"\xff"}', "overlong UTF-8": b'{"kind":"echo","payload":"\xc0\xaf"}',
        "surrogate as UTF-8": b'{"kind":"echo","payload":"\xed\xa0\x80"}',
        "lone surrogate": rb'{"kind":"echo","payload":"\ud800"}',
        "NUL in a name": rb'{"kind":"echo","payload":{"\u0000":1}}',
        "bad escape": rb'{"kind":"echo","payload":"\x41"}', "NaN": b'{"kind":"echo","payload":NaN}',
        "Infinity": b'{"kind":"echo","payload":-Infinity}', "1e999": b'{"kind":"echo","payload":1e999}',
        "-1e999 inside": b'{"kind":"echo","payload":[{"a":-1e999}]}',
        "leading zero": b'{"kind":"echo","priority":01}', "same name twice": b'{"kind":"echo","kind":"fail"}',
        "same name escaped": rb'{"kind":"echo","\u006bind":"fail"}',
        "same name in the payload": b'{"kind":"echo","payload":{"a":1,"a":2}}', "form": b"kind=echo",
        "XML": b"<kind>echo</kind>", "YAML": b"kind: echo",
    }  # fmt: skip
    for name, body in found.items():
        yield Row(f"document: {name}", (sized(body),))


def members() -> Iterator[Row]:
    """Give jobs with a member that is not valid."""
    found: list[bytes] = [
        b'"kind":""', b'"kind":7', b'"kind":null', b'"kind":"a b"', b'"kind":"' + b"a" * 101 + b'"', b'"kind":"../x"',
        b'"kind":"echo","priority":10', b'"kind":"echo","priority":-1', b'"kind":"echo","priority":1.5',
        b'"kind":"echo","priority":true', b'"kind":"echo","priority":"1"',
        b'"kind":"echo","priority":18446744073709551616', b'"kind":"echo","priority":' + b"1" * 5_000,
        b'"kind":"echo","delay_seconds":-1', b'"kind":"echo","delay_seconds":1e300',
        b'"kind":"echo","run_at":"yesterday"', b'"kind":"echo","run_at":"2026-11-21T08:00:00"',
        b'"kind":"echo","run_at":1', b'"kind":"echo","run_at":"99999-01-01T00:00:00Z"',
        b'"kind":"echo","ttl_seconds":0', b'"kind":"echo","state":"dead"', b'"kind":"echo","timeout_seconds":0',
        b'"kind":"echo","max_attempts":0', b'"kind":"echo","id":"x"', b'"kind":"echo","queue":"{default}"',
        b'"kind":"echo","queue":"nope"', b'"kind":"echo","unique_key":""', b'"kind":"echo","tags":"x"',
        b'"kind":"echo","tags":["a b"]', b'"kind":"echo","tags":[' + b'"x",' * 50_000 + b'"x"]',
        b'"kind":"echo","durability":"none"', b'"kind":"echo","":1', b'"kind":"echo","__proto__":{}',
        b'"kind":"echo","payload":"' + b"a" * MAX_PAYLOAD_BYTES + b'"',
    ]  # fmt: skip
    for text in found:
        yield Row(f"member: {text[:50]!r}", (sized(b"{" + text + b"}"),))


def slowness() -> Iterator[Row]:
    """Give requests that come too slowly, or not at all."""
    good = submission("Content-Length: 15")
    start, rest = good[:-15], good[-15:]
    yield Row("slow: silence", (b"",))
    yield Row("slow: half a line", (b"POST /api",))
    yield Row("slow: half a head", (start[:-2],))
    yield Row("slow: half a body", (start + rest[:7],))
    yield Row("slow: no body", (start,))
    yield Row("slow: half a chunk", (submission("Transfer-Encoding: chunked", body=b"f\r\n" + rest[:7]),))
    yield Row("slow: head byte by byte", tuple(bytes([byte]) for byte in start), 0.2)
    yield Row("slow: body byte by byte", (start, *(bytes([byte]) for byte in rest)), 0.4)
    yield Row("slow: headers without end", (start[:-2], *[b"X: y\r\n"] * 40), 0.2)
    yield Row("slow: a large body byte by byte", (submission("Content-Length: 300000", body=b""), *[b" "] * 40), 0.2)
    yield Row("slow: an answer, then silence", (head("GET /nope HTTP/1.1"),))
    yield Row(
        "slow: expects to be told to go on", (submission("Expect: 100-continue", "Content-Length: 99", body=b""),)
    )
