"""The kinds of settings: what each accepts, refuses, and reads a doubtful value as."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

PREFIX = "DJANGO_AUTH_RECOVERY_"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a configured value, and whether it can still be used."""

    text: str
    is_fatal: bool = True


class Setting(Generic[Value]):
    """One row of the table: a descriptor that reads Django's settings at each access."""

    kind = "value"

    def __init__(self, name: str, default: Value, help: str, *, group: str) -> None:
        self.name = PREFIX + name
        self.default = default
        self.help = help
        self.group = group

    @sensitive_variables()
    def __get__(self, instance: object, owner: type) -> Value:
        value = self.configured()
        if (problem := self.problem(value)) and problem.is_fatal:
            raise ImproperlyConfigured(f"{self.name} {problem.text}")
        return self.read(value)

    def configured(self) -> Any:
        """The value as it stands in Django's settings, unchecked."""
        return getattr(settings, self.name, self.default)

    def problem(self, value: Any) -> Problem | None:
        """Why this value is refused or doubtful; None when it is good."""
        raise NotImplementedError

    def read(self, value: Any) -> Value:
        """The usable form of a value that has no fatal problem."""
        result: Value = value
        return result

    @property
    def bounds(self) -> str:
        """The allowed values, in words for the docs."""
        return ""


class Text(Setting[str]):
    kind = "text"

    def problem(self, value: Any) -> Problem | None:
        if not isinstance(value, str):
            return Problem("must be text.")
        if any(ord(character) < 32 for character in value):
            return Problem("must be a single line without control characters.")
        return None


class OptionalText(Setting[str | None]):
    kind = "text or None"

    def problem(self, value: Any) -> Problem | None:
        return (
            None if value is None or isinstance(value, str) else Problem("must be text or None.")
        )


class Address(Text):
    kind = "e-mail address"

    def problem(self, value: Any) -> Problem | None:
        if problem := super().problem(value):
            return problem
        if value:
            try:
                validate_email(value)
            except ValidationError:
                return Problem("must be one e-mail address.")
        return None


class FileName(Text):
    """A name without folder and ending. Others are read as the nearest plain one (R-77)."""

    kind = "file name"
    bounds = "letters, digits, '.', '_' and '-', 64 at most, not starting with a dot"
    # Names of devices on Windows, whatever their ending.
    reserved = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

    def problem(self, value: Any) -> Problem | None:
        if not isinstance(value, str):
            return Problem("must be text.")
        plain = self.read(value)
        if plain == value:
            return None
        text = f'is not a plain file name ({self.bounds}); it is read as "{plain}".'
        return Problem(text, is_fatal=False)

    def read(self, value: Any) -> str:
        last_part = re.split(r"[/\\]", value)[-1]
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", last_part).lstrip(".")[:64].rstrip(".")
        return self.default if not plain or self.reserved.fullmatch(plain) else plain


class Rate(Text):
    kind = "rate"
    pattern = re.compile(r"[1-9][0-9]{0,5}/([1-9][0-9]{0,4})?[smhd]")
    bounds = 'such as "60/m": a number, "/", and s, m, h or d'

    def problem(self, value: Any) -> Problem | None:
        if problem := super().problem(value):
            return problem
        if not self.pattern.fullmatch(value):
            return Problem(f"must be a rate {self.bounds}.")
        return None


class Flag(Setting[bool]):
    kind = "True or False"

    def problem(self, value: Any) -> Problem | None:
        if isinstance(value, bool):
            return None
        if isinstance(value, int):
            return Problem(
                f"is the number {value}; it is read as {bool(value)}. Write True or False.",
                is_fatal=False,
            )
        return Problem("must be True or False.")

    def read(self, value: Any) -> bool:
        return bool(value)


class Word(Text):
    kind = "word"
    pattern = re.compile(r"[A-Za-z0-9_-]{1,16}")
    bounds = "letters, digits, '_' and '-', 1 to 16 of them"

    def problem(self, value: Any) -> Problem | None:
        if problem := super().problem(value):
            return problem
        return None if self.pattern.fullmatch(value) else Problem(f"must be {self.bounds}.")


class Choice(Setting[str]):
    kind = "choice"

    def __init__(
        self, name: str, default: str, help: str, *, group: str, choices: Sequence[str]
    ) -> None:
        super().__init__(name, default, help, group=group)
        self.choices = choices

    def problem(self, value: Any) -> Problem | None:
        return None if value in self.choices else Problem(f"must be {self.bounds}.")

    @property
    def bounds(self) -> str:
        return " or ".join(f'"{choice}"' for choice in self.choices)


class Paths(Setting[Sequence[str]]):
    kind = "list of paths"
    bounds = "each begins with /"

    def problem(self, value: Any) -> Problem | None:
        if not isinstance(value, (list, tuple)):
            return Problem("must be a list of paths.")
        if not all(isinstance(path, str) and path.startswith("/") for path in value):
            return Problem("must hold paths that begin with /.")
        return None


class Audience(Setting[str | Callable[[Any], bool]]):
    """ "everyone", "staff", or a function of a user, which may be named by its dotted path."""

    kind = "choice or function"
    bounds = '"everyone" or "staff", or a function that takes a user, or its dotted path'
    named = ("everyone", "staff")

    def problem(self, value: Any) -> Problem | None:
        if value in self.named or callable(value):
            return None
        if not isinstance(value, str):
            return Problem(f"must be {self.bounds}.")
        try:
            is_function = callable(import_string(value))
        except ImportError:
            is_function = False
        return None if is_function else Problem("names nothing that can be called.")

    def read(self, value: Any) -> str | Callable[[Any], bool]:
        if callable(value) or value in self.named:
            return value  # type: ignore[no-any-return]
        return import_string(value)  # type: ignore[no-any-return]


class Bounded(Setting[Value]):
    """A number from `minimum` to `maximum`; True and False are no numbers."""

    types: Any = (int,)

    def __init__(
        self,
        name: str,
        default: Value,
        help: str,
        *,
        group: str,
        minimum: float,
        maximum: float,
    ) -> None:
        super().__init__(name, default, help, group=group)
        self.minimum = minimum
        self.maximum = maximum

    def problem(self, value: Any) -> Problem | None:
        if isinstance(value, bool) or not isinstance(value, self.types):
            return Problem("must be a number, not text and not True or False.")
        if not self.minimum <= value <= self.maximum:
            return Problem(f"must be between {self.minimum} and {self.maximum}.")
        return None

    @property
    def bounds(self) -> str:
        return f"{self.minimum} to {self.maximum}"


class Whole(Bounded[int]):
    kind = "whole number"


class Number(Bounded[float]):
    kind = "number"
    types = (int, float)


class OptionalWhole(Bounded[int | None]):
    kind = "whole number or None"

    def __init__(
        self, name: str, help: str, *, group: str, minimum: float, maximum: float
    ) -> None:
        super().__init__(name, None, help, group=group, minimum=minimum, maximum=maximum)

    def problem(self, value: Any) -> Problem | None:
        return None if value is None else super().problem(value)

    @property
    def bounds(self) -> str:
        return f"None, or {super().bounds}"


class OptionalFlag(Setting[bool | None]):
    kind = "True, False or None"

    def problem(self, value: Any) -> Problem | None:
        return (
            None if value is None or isinstance(value, bool) else Problem(f"must be {self.kind}.")
        )


KEY_BYTES = 32
KEY_ADVICE = "Make one with `manage.py generate_recovery_key`."
PLACEHOLDERS = re.compile(
    r"change|placeholder|your|example|insecure|replace|secret|password|dummy|generate|\.\.\.|<|>",
    re.IGNORECASE,
)


@sensitive_variables()
def key_problem(key: Any) -> Problem | None:
    """Why a key must not be used: missing, short, a placeholder, or SECRET_KEY (R-11, R-18)."""
    if not isinstance(key, str) or not key:
        return Problem(f"must be set to a key. {KEY_ADVICE}")
    if key in {settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS}:
        return Problem(
            f"must not be SECRET_KEY: rotating that would end every recovery code. {KEY_ADVICE}"
        )
    return _weakness(key)


@lru_cache(maxsize=16)
def _weakness(key: str) -> Problem | None:
    if PLACEHOLDERS.search(key) or len(set(key)) < 10:
        return Problem(f"is a placeholder, not a key. {KEY_ADVICE}")
    bits_per_character = 4 if re.fullmatch(r"[0-9a-fA-F]+", key) else 6
    if len(key) * bits_per_character < KEY_BYTES * 8:
        return Problem(f"is too short: {KEY_BYTES} random bytes are the least. {KEY_ADVICE}")
    return None


class Key(Setting[str]):
    kind = "key"

    def problem(self, value: Any) -> Problem | None:
        return key_problem(value)


class KeyList(Setting[Sequence[str]]):
    kind = "list of keys"

    def problem(self, value: Any) -> Problem | None:
        if isinstance(value, str) or not isinstance(value, Sequence):
            return Problem("must be a list of keys.")
        for position, key in enumerate(value):
            if problem := key_problem(key):
                return Problem(f"item {position} {problem.text}")
        return None
