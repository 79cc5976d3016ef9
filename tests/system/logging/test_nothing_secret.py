"""What clients hand over for jobs and for themselves is in no log, whatever goes wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.settings.sinks import Sink
from tests.system.logging.conftest import StartApi
from tests.system.processes import RunWorker, wait_until

CANARIES = {
    "payload": "canary-payload",
    "message": "canary-of-an-error",
    "key": "canary-idempotency-key",
    "token": "canary-token",
    "password": "canary-password",
    "query": "canary-query",
    "cookie": "canary-cookie",
    "unique": "canary-unique-key",
}
HEADERS = {
    "Content-Type": "application/json",
    "Authorization": f"Bearer {CANARIES['token']}",
    "Idempotency-Key": CANARIES["key"],
    "Cookie": f"sessionid={CANARIES['cookie']}",
}
JOBS = [
    {"kind": "echo", "payload": {"password": CANARIES["password"], "text": CANARIES["payload"]}},
    {"kind": "echo", "unique_key": CANARIES["unique"]},
    {"kind": "fail", "payload": {"message": CANARIES["message"], "permanent": True}},
    {"kind": "fail", "payload": {"message": CANARIES["message"]}, "max_attempts": 1},
    {"kind": "http.request", "payload": {"url": f"https://127.0.0.1/?{CANARIES['query']}"}, "max_attempts": 1},
    {"kind": "email.send", "payload": {"to": [CANARIES["payload"]]}, "max_attempts": 1},
    {"kind": "unknown", "payload": CANARIES["payload"], "max_attempts": 1},
]
REFUSED = [
    f'{{"kind": "echo", "payload": "{CANARIES["payload"]}"',
    f'{{"kind": "echo", "payloads": "{CANARIES["payload"]}"}}',
    f'{{"kind": "{CANARIES["payload"]} no kind"}}',
]


def test_no_payload_token_password_or_key_is_in_any_log(
    start_api: StartApi, run_worker: Callable[..., RunWorker], tmp_path: Path
) -> None:
    with Sink() as sink:
        logged = {
            "LOG_LEVEL": "DEBUG",
            "LOG_FILE": tmp_path / "file.log",
            "LOG_TCP_URL": f"tcp://127.0.0.1:{sink.port}",
        }
        api = start_api(**logged)
        for number, job in enumerate(JOBS):
            headers = {**HEADERS, "Idempotency-Key": f"{CANARIES['key']}-{number}"}
            answer = api.ask("POST", f"/api/v1/jobs?token={CANARIES['query']}", json.dumps(job).encode(), headers)
            assert answer.status == 201
        for body in REFUSED:
            assert 400 <= api.ask("POST", "/api/v1/jobs", body.encode(), HEADERS).status < 500
        api.ask("POST", "/api/v1/jobs/bulk", json.dumps({"jobs": JOBS}).encode(), HEADERS)
        api.ask("GET", "/api/v1/jobs?tag=x", headers=HEADERS)

        worker = run_worker("--drain", **logged)
        assert worker.wait() == 0
        api.close()
        wait_until(lambda: sink.lines)

    texts = [*(path.read_text() for path in tmp_path.glob("*.log")), *(text.decode() for text in sink.received)]
    assert sum("attempt" in text for text in texts) >= 3  # stdout, the file and the sink
    for text in texts:
        for name, canary in CANARIES.items():
            assert canary not in text, f"{name}: {text[max(0, text.find(canary) - 300) :][:400]}"
