"""Declared variables: how they are read, refused and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from settings.variables import (
    FLAG,
    HIDDEN,
    TEXT,
    URL,
    WORDS,
    Environment,
    Kind,
    Variable,
    choice,
    masked_url,
    number,
    whole_number,
)


class Sea(Environment):
    """The sea."""

    DEPTH = Variable(whole_number(1, 64), "7", "how deep")
    WARMTH = Variable(number(0.5, 40), "12.5", "how warm", shown="as usual")
    TIDE = Variable(FLAG, "0", "whether there is one")
    SHORE = Variable(choice("Sand", "Rock"), "Sand", "what lies by it")
    FISH = Variable(WORDS, "cod,eel", "what swims in it")
    NAME = Variable(TEXT, lambda given: f"sea of depth {given.DEPTH}", "its name", shown="made of `DEPTH`")


class Harbour(Environment):
    """The harbour."""

    KEY = Variable(TEXT, "", "opens it", is_secret=True)
    PILOT_URL = Variable(URL, "", "who leads in")
    WIND = Variable(TEXT, "", "read by others", is_ours=False)


class Coast(Sea, Harbour):
    """Both."""


def fault(**environ: str) -> str:
    with pytest.raises(ImproperlyConfigured) as refusal:
        Coast(environ)
    return str(refusal.value)


def test_without_an_environment_defaults_hold_and_may_follow_from_others() -> None:
    coast = Coast({})

    assert (coast.DEPTH, coast.WARMTH, coast.TIDE, coast.SHORE) == (7, 12.5, False, "Sand")
    assert (coast.FISH, coast.NAME, coast.KEY) == (["cod", "eel"], "sea of depth 7", "")
    assert Coast({"DEPTH": "9"}).NAME == "sea of depth 9"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("DEPTH", " 64\n", 64),
        ("WARMTH", "0.5", 0.5),
        ("TIDE", "Yes", True),
        ("TIDE", "off", False),
        ("SHORE", "rock", "Rock"),
        ("FISH", " cod , ,ling ", ["cod", "ling"]),
        ("NAME", "$PATH", "$PATH"),
        ("DEPTH", "", 7),
        ("FISH", " ", ["cod", "eel"]),
    ],
)
def test_a_text_becomes_a_value_without_the_space_around_it_and_an_empty_one_is_as_none(
    name: str, text: str, value: Any
) -> None:
    coast = Coast({name: text})

    assert getattr(coast, name) == value
    assert coast.is_given(name) == bool(text.strip())


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("DEPTH", "0", "a whole number from 1 to 64"),
        ("DEPTH", "65", "a whole number from 1 to 64"),
        ("DEPTH", "1.5", "a whole number from 1 to 64"),
        ("WARMTH", "nan", "a number from 0.5 to 40"),
        ("WARMTH", "inf", "a number from 0.5 to 40"),
        ("TIDE", "ture", "1 or 0"),
        ("SHORE", "mud", "Sand or Rock"),
    ],
)
def test_a_wrong_value_is_refused_in_a_line_that_names_it_and_what_may_be(name: str, text: str, what: str) -> None:
    assert fault(**{name: text}) == f"{name} must be {what}, not {text!r}"


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert (
        fault(DEPTH="x", TIDE="y") == "DEPTH must be a whole number from 1 to 64, not 'x'; TIDE must be 1 or 0, not 'y'"
    )


def test_a_file_may_hold_a_value_and_comes_first(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("open sesame\n")
    environ = {"KEY_FILE": str(tmp_path / "key"), "KEY": "other", "WIND_FILE": "/nowhere"}

    coast = Coast(environ)

    assert (coast.KEY, coast.WIND) == ("open sesame", "")


@pytest.mark.parametrize(("content", "why"), [(None, "No such file or directory"), (b"\xff", "it is no text")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    assert fault(KEY_FILE=str(path)) == f"KEY_FILE: cannot read {path}: {why}"


def test_entries_tell_the_value_in_force_and_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "depth").write_text("8")

    found = {entry.name: entry for entry in Coast({"TIDE": "on", "DEPTH_FILE": f"{tmp_path}/depth"}).entries()}

    assert [found[name].section for name in ("DEPTH", "KEY")] == ["The sea", "The harbour"]
    assert [(found[name].value, found[name].source) for name in ("DEPTH", "TIDE", "FISH", "NAME")] == [
        ("8", f"file {tmp_path}/depth"),
        ("on", "environment"),
        ("cod,eel", "default"),
        ("sea of depth 8", "default"),
    ]
    assert [found[name].default for name in ("DEPTH", "WARMTH", "KEY")] == ["`7`", "as usual", ""]
    assert [found[name].is_given for name in ("TIDE", "FISH")] == [True, False]


def test_a_secret_is_shown_by_no_one_not_even_when_it_is_wrong() -> None:
    class Vault(Environment):
        """The vault."""

        CODE = Variable(Kind("four digits", lambda text: int(f"{text:.4}")), "1234", "opens it", is_secret=True)

    with pytest.raises(ImproperlyConfigured) as refusal:
        Vault({"CODE": "canary"})

    assert [entry.value for entry in Vault({"CODE": "9876"}).entries()] == [HIDDEN]
    assert str(refusal.value) == f"CODE must be four digits, not '{HIDDEN}'"
    assert "9876" not in repr(Vault({"CODE": "9876"}))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://api:canary@host/0", f"redis://api:{HIDDEN}@host/0"),
        ("redis://:canary@host", f"redis://:{HIDDEN}@host"),
        ("redis://canary@host", f"redis://{HIDDEN}@host"),
        ("redis://api:can@ary@host", f"redis://api:{HIDDEN}@host"),
        ("redis://api:can/ary@host", f"redis://api:{HIDDEN}@host"),
        ("redis://api:can?ary#x@host", f"redis://api:{HIDDEN}@host"),
        ("redis+sentinel://api:canary@a:1,b:2/main/0", f"redis+sentinel://api:{HIDDEN}@a:1,b:2/main/0"),
        ("unix:///x.sock?db=1&password=canary", f"unix:///x.sock?db=1&password={HIDDEN}"),
        ("redis://h?sentinel_password=canary&db=1", f"redis://h?sentinel_password={HIDDEN}&db=1"),
        ("https://logs/?api_token=canary", f"https://logs/?api_token={HIDDEN}"),
        ("postgres:/api:canary@host", f"{HIDDEN}@host"),
        ("canary@host", f"{HIDDEN}@host"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked_url(url) == shown
    assert "canary" not in shown


@pytest.mark.parametrize(
    ("name", "meant"),
    [("DEPHT", "DEPTH"), ("PILOT_URI", "PILOT_URL"), ("PILOT_URL_FIEL", "PILOT_URL_FILE"), ("depth", "DEPTH")],
)
def test_a_name_that_looks_like_one_of_ours_is_told_with_that_one(name: str, meant: str) -> None:
    given = {"PATH": "/bin", "HOME": "/root", "WINDS": "x", "DEPTH": "8", "KEY_FILE": ""}

    assert Coast({**given, name: "1"}).misspelt() == {name: meant}
