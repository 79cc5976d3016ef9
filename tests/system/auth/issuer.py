"""An authorization server of another make, as a process: its metadata and its keys, and the ways these can fail.

    python issuer.py FOLDER PORT

FOLDER/keys.json is the key set; FOLDER/mode says how to answer now (ok, slow, drip, garbage, huge, error, redirect,
mute); each request is a line in FOLDER/requests. /introspect answers what FOLDER/tokens.json says of a token.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

CREDENTIALS = "api", "introspection-secret:/+ %"
HANG_SECONDS = 30


class Issuer(BaseHTTPRequestHandler):
    """Answers one request; everything it knows is in the folder."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with metadata or keys."""
        self._note()
        if self.path == "/.well-known/oauth-authorization-server":
            self._answer(self._metadata())
        elif self.path == "/jwks":
            self._fail_or(lambda: json.loads((self.folder / "keys.json").read_text()))
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """Answer what a token is good for."""
        self._note()
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        pair = ":".join(_quoted(part) for part in CREDENTIALS)
        if self.headers["Authorization"] != f"Basic {base64.b64encode(pair.encode()).decode()}":
            self.send_error(401)
            return
        known = json.loads((self.folder / "tokens.json").read_text())
        self._fail_or(lambda: known.get(form["token"][0], {"active": False}))

    def _note(self) -> None:
        with (self.folder / "requests").open("a") as log:
            log.write(f"{self.path}\n")

    def _metadata(self) -> dict[str, str]:
        base = f"http://127.0.0.1:{self.server.server_address[1]}"
        return {"issuer": base, "jwks_uri": f"{base}/jwks", "introspection_endpoint": f"{base}/introspect"}

    def _fail_or(self, found: Any) -> None:
        mode = (self.folder / "mode").read_text()
        if mode == "ok":
            self._answer(found())
        elif mode == "slow":
            time.sleep(HANG_SECONDS)
        elif mode == "drip":
            self._drip()
        elif mode in ("garbage", "huge"):
            self._send(b"{" if mode == "garbage" else b'{"a": "' + b"a" * 1_000_000 + b'"}')
        elif mode == "redirect":
            self.send_response(302)
            self.send_header("Location", "/.well-known/oauth-authorization-server")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif mode == "error":
            self.send_error(500)
        self.close_connection = True

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(HANG_SECONDS * 10):
            self.wfile.write(b" ")
            time.sleep(0.1)

    def _answer(self, found: Any) -> None:
        self._send(json.dumps(found).encode())

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _quoted(text: str) -> str:
    from urllib.parse import quote_plus  # noqa: PLC0415

    return quote_plus(text)


if __name__ == "__main__":
    Issuer.folder = Path(sys.argv[1])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Issuer).serve_forever()
