"""Environment variables as declarations: how a text becomes a value, what it means, and what people may see of it.

A section declares its variables as attributes, `PORT = Variable(whole_number(0, 65_535), "8000", "where it listens")`;
`Section(os.environ).PORT` is then the value that holds, a number.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
Number = TypeVar("Number", int, float)

HIDDEN = "********"
FROM_ENVIRONMENT, FROM_DEFAULT = "environment", "default"
SECRET_PARAMETER = re.compile(r"(?i)([?&][^=&#]*(?:pass|secret|token|key)[^=&#]*=)[^&#]+")
LIKENESS = 0.85  # of two names, above which one is taken for the other, misspelt


# --- kinds ---


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """Which values there are: `parse` raises ValueError for others, and `what` tells people of them.

    `mask` hides what nobody may see of a value that can be shown otherwise.
    """

    what: str
    parse: Callable[[str], T]
    mask: Callable[[str], str] = str


def masked_url(text: str) -> str:
    """Return a URL, or what should have been one, without its password and without secrets in its query."""
    before, is_found, after = text.rpartition("@")  # the last: a password may have one, too
    if is_found:
        scheme, has_scheme, rest = before.partition("://")
        user, has_password, _ = rest.partition(":")
        name = f"{user}:" if has_password else ""
        before = f"{scheme}://{name}{HIDDEN}" if has_scheme else HIDDEN
    return SECRET_PARAMETER.sub(rf"\g<1>{HIDDEN}", f"{before}{is_found}{after}")


def _flag(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


def _within(value: Number, least: float, most: float) -> Number:
    if not least <= value <= most:
        raise ValueError(value)
    return value


def _range(least: float, most: float) -> str:
    return f"from {least:g} to {most:.0f}" if most < math.inf else f"of at least {least:g}"


def whole_number(least: int, most: float = math.inf) -> Kind[int]:
    """Return the kind of whole numbers from `least` to `most`."""
    return Kind(f"a whole number {_range(least, most)}", lambda text: _within(int(text), least, most))


def number(least: float, most: float) -> Kind[float]:
    """Return the kind of numbers from `least` to `most`, not necessarily whole."""
    return Kind(f"a number {_range(least, most)}", lambda text: _within(float(text), least, most))


def choice(*words: str) -> Kind[str]:
    """Return the kind that is one of some words, whatever its case; the value has theirs."""
    by_case = {word.lower(): word for word in words}

    def parse(text: str) -> str:
        if text.lower() not in by_case:
            raise ValueError(text)
        return by_case[text.lower()]

    return Kind(f"{', '.join(words[:-1])} or {words[-1]}", parse)


def matching(pattern: str, what: str) -> Kind[str]:
    """Return the kind of texts that are empty or match a pattern from end to end, and may be links."""
    return Kind(what, lambda text: _matched(pattern, text), masked_url)


def _matched(pattern: str, text: str) -> str:
    if text and not re.fullmatch(pattern, text):
        raise ValueError(text)
    return text


def list_of(kind: Kind[T], what: str) -> Kind[list[T]]:
    """Return the kind of lists whose parts, between commas, are of a kind."""
    return Kind(what, lambda text: [kind.parse(word) for word in _words(text)])


TEXT = Kind("text", str)
FLAG = Kind("1 or 0", _flag)
WORDS = Kind("a comma list", _words)
FILE = Kind("a path", str)
URL = Kind("a URL", str, masked_url)


# --- variables ---


class Variable(Generic[T]):
    """One variable, an attribute of the section it belongs to; of a section's instance it is the value.

    A default is a text as the environment would give it, or makes one of the other values: then `shown` says which.
    `is_ours` is false for what a library reads by itself, which knows nothing of files.
    """

    name: str

    def __init__(
        self,
        kind: Kind[T],
        default: str | Callable[[Any], str],
        meaning: str,
        *,
        shown: str = "",
        is_secret: bool = False,
        is_ours: bool = True,
    ) -> None:
        self.kind, self.meaning, self.is_secret, self.is_ours = kind, meaning, is_secret, is_ours
        self._default = default
        self.default_shown = shown or (f"`{default}`" if default and isinstance(default, str) else "")

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, given: None, owner: type) -> Self: ...

    @overload
    def __get__(self, given: Environment, owner: type) -> T: ...

    def __get__(self, given: Environment | None, owner: type) -> Self | T:
        return self if given is None else self.value_in(given)

    def value_in(self, given: Environment) -> T:
        """Return the value that holds; raises ValueError when the text in force is none."""
        return self.kind.parse(self.text_in(given))

    def text_in(self, given: Environment) -> str:
        """Return the text in force: what was given, or else the default."""
        return given.text_of(self) or (self._default if isinstance(self._default, str) else self._default(given))

    def visible(self, text: str) -> str:
        """Return what people may see of a text: of a secret that there is one."""
        return HIDDEN if self.is_secret and text else self.kind.mask(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A variable and what holds of it now, as people may see it; `source` is environment, default or `file PATH`."""

    section: str
    name: str
    value: str
    source: str
    default: str
    what: str
    meaning: str
    is_secret: bool

    @property
    def is_given(self) -> bool:
        """Whether somebody gave it a value."""
        return self.source != FROM_DEFAULT


class Environment:
    """The variables that its sections, the classes it is derived from, declare. One that is empty is as if not given.

    X_FILE names a file with the value of X, and comes first. Raises ImproperlyConfigured, in one line that names all
    that is wrong.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._names = frozenset(environ)
        self._texts: dict[str, str] = {}
        self._sources: dict[str, str] = {}
        if faults := [fault for variable in self.variables() if (fault := self._read(variable, environ))]:
            raise ImproperlyConfigured("; ".join(faults))

    @classmethod
    def sections(cls) -> dict[str, list[Variable[Any]]]:
        """Return the variables of each section by its title, the docstring."""
        declared = [each for each in cls.__mro__ if any(isinstance(value, Variable) for value in vars(each).values())]
        return {
            str(section.__doc__).rstrip("."): [value for value in vars(section).values() if isinstance(value, Variable)]
            for section in declared
        }

    @classmethod
    def variables(cls) -> Iterator[Variable[Any]]:
        """Yield all variables, section by section."""
        for variables in cls.sections().values():
            yield from variables

    def text_of(self, variable: Variable[Any]) -> str:
        """Return what was given; empty for nothing."""
        return self._texts.get(variable.name, "")

    def is_given(self, name: str) -> bool:
        """Whether somebody gave the variable a value."""
        return name in self._texts

    def entries(self) -> list[Entry]:
        """Return every variable with what holds of it now."""
        return [
            Entry(
                section=title,
                name=variable.name,
                value=variable.visible(variable.text_in(self)),
                source=self._sources.get(variable.name, FROM_DEFAULT),
                default=variable.default_shown,
                what=variable.kind.what,
                meaning=variable.meaning,
                is_secret=variable.is_secret,
            )
            for title, variables in self.sections().items()
            for variable in variables
        ]

    def misspelt(self) -> dict[str, str]:
        """Return the names in the environment that are none of ours but look like one, each with that one."""
        known = {variable.name for variable in self.variables()}
        ours = [variable.name for variable in self.variables() if variable.is_ours]
        ours += [f"{name}_FILE" for name in ours]
        likely = {name: _likeliest(name.upper(), ours) for name in sorted(self._names - {*known, *ours})}
        return {name: meant for name, meant in likely.items() if meant}

    def _read(self, variable: Variable[Any], environ: Mapping[str, str]) -> str:
        """Take the text of a variable, and return what is wrong with it; empty when nothing is."""
        name, path = variable.name, environ.get(f"{variable.name}_FILE", "") if variable.is_ours else ""
        try:
            text = (Path(path).read_text(encoding="utf-8") if path else environ.get(name, "")).strip()
        except (OSError, ValueError) as error:
            return f"{name}_FILE: cannot read {path}: {getattr(error, 'strerror', None) or 'it is no text'}"
        if text:
            self._texts[name] = text
            self._sources[name] = f"file {path}" if path else FROM_ENVIRONMENT
        return self._fault(variable, text)

    def _fault(self, variable: Variable[Any], text: str) -> str:
        try:
            if text:
                variable.kind.parse(text)
        except (ValueError, LookupError, ImproperlyConfigured):
            return f"{variable.name} must be {variable.kind.what}, not {variable.visible(text)!r}"
        return ""


def _likeliest(name: str, names: list[str]) -> str:
    """Return the name with the same letters, or else the one that is most alike; empty when none is."""
    alike = [each for each in names if sorted(each) == sorted(name)]
    return next(iter(alike or difflib.get_close_matches(name, names, n=1, cutoff=LIKENESS)), "")
