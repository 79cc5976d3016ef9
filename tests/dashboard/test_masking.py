from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.conf import LazySettings

from jobapi.dashboard.masking import MASK, MAX_SHOWN_CHARS, is_secret, mask_text, masked, preview, read, shown, write


@pytest.mark.parametrize(
    "name", ["password", "PASSWORD", "smtp_password", "apiKey", "API-Key", "access_token", "tokens", "X-Authorization"]
)
def test_a_name_that_contains_a_masked_key_is_secret_whatever_its_case_and_separators(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["", "author", "to", "amount", "key", "pass"])
def test_other_names_are_not(name: str) -> None:
    assert not is_secret(name)


def test_the_setting_says_which_names_are_secret(settings: LazySettings) -> None:
    settings.MASKED_KEYS = ["iban"]

    assert masked({"iban": "DE1", "password": "x"}) == {"iban": MASK, "password": "x"}
    settings.MASKED_KEYS = []
    assert masked({"iban": "DE1"}) == {"iban": "DE1"}
    assert mask_text("iban=DE1") == "iban=DE1"


def test_secrets_are_masked_at_any_depth_in_lists_too_whatever_lies_under_them() -> None:
    value = {"a": [{"b": {"token": "x"}}, {"Password": {"old": 1, "new": [2]}}], "n": None, "ok": True}

    assert masked(value) == {"a": [{"b": {"token": MASK}}, {"Password": MASK}], "n": None, "ok": True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call with Bearer abc.def-123", f"call with Bearer {MASK}"),
        ("authorization: basic dXNlcjpwdw==", f"authorization: {MASK} {MASK}"),
        ("https://anna:geheim@example.com/x", f"https://{MASK}@example.com/x"),
        ("password=geheim&x=1", f"password={MASK}&x=1"),
        ('{"api_key": "ab cd", "n": 1}', f'{{"api_key": {MASK}, "n": 1}}'),
        ("the bearer of news", "the bearer of news"),
        ("no secret at all, a token of love", "no secret at all, a token of love"),
    ],
)
def test_a_text_keeps_no_credentials_that_it_quotes(text: str, expected: str) -> None:
    found = mask_text(text)

    assert found == expected or (MASK in expected and "geheim" not in found and "dXNl" not in found)


def test_json_in_a_text_stays_a_text() -> None:
    document = json.dumps({"body": '{"password": "geheim", "n": 1}'}).encode()

    assert json.loads(shown(document).text) == {"body": f'{{"password": {MASK}, "n": 1}}'}


def test_numbers_are_shown_as_they_are_written() -> None:
    document = b'{"id":90071992547409930001,"price":1.10,"tiny":1e-400,"big":12345678901234567890.123456789}'

    assert [line.strip(" ,") for line in shown(document).text.splitlines()[1:-1]] == [
        '"id": 90071992547409930001',
        '"price": 1.10',
        '"tiny": 1e-400',
        '"big": 12345678901234567890.123456789',
    ]


@pytest.mark.parametrize("value", [{}, [], "", 0, None, True, {"a": [], "b": {}}, [[1], {"c": 'ü"\\\n'}], "\u2028"])
@pytest.mark.parametrize("line_break", ["", "\n"])
def test_what_is_written_is_the_same_json(value: Any, line_break: str) -> None:
    assert json.loads(write(read(json.dumps(value).encode()), line_break)) == value


def test_marks_that_turn_text_around_are_spelled_out() -> None:
    assert shown('"abc\u202egpj.exe"'.encode()).text == '"abc\\u202egpj.exe"'


def test_what_is_revealed_is_not_masked_but_what_is_not_is() -> None:
    document = b'{"password":"geheim"}'

    assert "geheim" in shown(document, reveal=True).text
    assert "geheim" not in shown(document).text
    assert "geheim" not in preview(document).text


def test_a_big_document_is_cut_and_its_size_told() -> None:
    document = json.dumps(["x" * 100] * 1_000).encode()

    cut = shown(document)

    assert (len(cut.text), cut.size_bytes, cut.is_cut) == (MAX_SHOWN_CHARS, len(document), True)
    assert preview(document).text == ""
    assert preview(document).size_bytes == len(document)


def test_damaged_bytes_are_shown_to_those_who_reveal_them_only() -> None:
    document = b'{"password":"geheim'

    assert "geheim" not in shown(document).text
    assert shown(document, reveal=True).text == '{"password":"geheim'
    assert shown(b"[" * 100_000).text == shown(document).text


@pytest.mark.parametrize("piece", ["password", "bearer ", "a://", "password ", "://a", '"token":"', "password='"])
def test_the_time_for_a_text_grows_no_faster_than_its_length(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * length)[:length]
        times = []
        for _ in range(3):
            begun = time.thread_time()
            mask_text(text)
            times.append(time.thread_time() - begun)
        return min(times)

    assert seconds(80_000) < 40 * max(seconds(8_000), 0.0005)
