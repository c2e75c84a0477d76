"""Every setting, once: its name, type, default, bounds and meaning.

`conf.PER_PAGE` reads the live value, checked and typed. `checks.py` and `docs/settings.md`
are made from the same table, so a new setting is one row here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Literal, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

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
    kind = "file name"
    pattern = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")

    def problem(self, value: Any) -> Problem | None:
        if problem := super().problem(value):
            return problem
        if not self.pattern.fullmatch(value):
            return Problem(
                "must be a plain file name: letters, digits, '.', '_' and '-' only, "
                "64 at most, not starting with a dot."
            )
        return None


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


def _number_problem(value: Any, minimum: float, maximum: float, types: Any) -> Problem | None:
    if isinstance(value, bool) or not isinstance(value, types):
        return Problem("must be a number, not text and not True or False.")
    if not minimum <= value <= maximum:
        return Problem(f"must be between {minimum} and {maximum}.")
    return None


class Whole(Setting[int]):
    kind = "whole number"

    def __init__(
        self, name: str, default: int, help: str, *, group: str, minimum: int, maximum: int
    ) -> None:
        super().__init__(name, default, help, group=group)
        self.minimum = minimum
        self.maximum = maximum

    def problem(self, value: Any) -> Problem | None:
        return _number_problem(value, self.minimum, self.maximum, int)

    @property
    def bounds(self) -> str:
        return f"{self.minimum} to {self.maximum}"


class Number(Setting[float]):
    kind = "number"

    def __init__(
        self, name: str, default: float, help: str, *, group: str, minimum: float, maximum: float
    ) -> None:
        super().__init__(name, default, help, group=group)
        self.minimum = minimum
        self.maximum = maximum

    def problem(self, value: Any) -> Problem | None:
        return _number_problem(value, self.minimum, self.maximum, (int, float))

    @property
    def bounds(self) -> str:
        return f"{self.minimum} to {self.maximum}"


class OptionalWhole(Setting[int | None]):
    kind = "whole number or None"

    def __init__(self, name: str, help: str, *, group: str, minimum: int, maximum: int) -> None:
        super().__init__(name, None, help, group=group)
        self.minimum = minimum
        self.maximum = maximum

    def problem(self, value: Any) -> Problem | None:
        return None if value is None else _number_problem(value, self.minimum, self.maximum, int)

    @property
    def bounds(self) -> str:
        return f"None, or {self.minimum} to {self.maximum}"


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


KEYS = "Keys"
SIGN_IN = "Signing in"
COOLDOWN = "Cooldown"
CODES = "Codes"
PAGES = "Pages"
DELIVERY = "Files and e-mails"
ADMIN = "Purge, audit and reports"

GROUPS = {
    KEYS: "",
    SIGN_IN: "",
    COOLDOWN: "",
    CODES: "STASH_TTL and REAUTH_MAX_AGE are checked at start-up and have no effect yet: the page "
    "that generates codes is not in this release.",
    PAGES: "MAX_VISIBLE, PER_PAGE, CACHE_TTL, CACHE_MIN and CACHE_MAX are checked at start-up and "
    "have no effect yet: the history of batches is not in this release.",
    DELIVERY: "Checked at start-up. Only EMAIL_SENDER_LOGGING has an effect yet: codes as files "
    "and e-mails are not in this release.",
    ADMIN: "Checked at start-up, with no effect yet: scheduled purges and reports are not in this "
    "release. Nothing is removed by itself.",
}

LoginMode = Literal["sole_login", "second_factor", "off"]


class Conf:
    """The settings as attributes: `conf.PER_PAGE` is the live, checked value.

    Raises `ImproperlyConfigured` naming the setting and what to write.
    """

    KEY = Key("KEY", "", "The key under which codes are stored. Never SECRET_KEY.", group=KEYS)
    KEY_FALLBACKS = KeyList(
        "KEY_FALLBACKS",
        (),
        "Older keys, read only: their codes still work. Remove one after "
        "`recovery_keys retire` agrees.",
        group=KEYS,
    )

    LOGIN_MODE = Choice(
        "CODES_LOGIN_MODE",
        "sole_login",
        "What a code is worth: a whole sign-in, a second factor after the password, or nothing.",
        group=SIGN_IN,
        choices=("sole_login", "second_factor", "off"),
    )
    SOLE_LOGIN_FOR_STAFF = Flag(
        "CODES_SOLE_LOGIN_FOR_STAFF",
        True,
        "Whether staff and superusers may sign in with e-mail and code alone.",
        group=SIGN_IN,
    )
    NOTIFY = Flag(
        "CODES_NOTIFY",
        True,
        "Tell owners by e-mail when a code is used or their account is attacked.",
        group=SIGN_IN,
    )
    EMAIL_ASYNC = OptionalFlag(
        "CODES_EMAIL_ASYNC",
        None,
        "Send e-mails through the django-q2 queue. None: through the queue unless DEBUG is on.",
        group=SIGN_IN,
    )
    TRUSTED_PROXY_COUNT = Whole(
        "CODES_TRUSTED_PROXY_COUNT",
        0,
        "How many proxies in front of Django write X-Forwarded-For. 0: the header is ignored.",
        group=SIGN_IN,
        minimum=0,
        maximum=10,
    )
    SITE_NAME = Text(
        "CODES_SITE_NAME",
        "",
        "The site's name on pages and in e-mails. Empty: the name from django.contrib.sites.",
        group=SIGN_IN,
    )

    MAX_LOGIN_ATTEMPTS = Whole(
        "CODES_MAX_LOGIN_ATTEMPTS",
        5,
        "Tries that an account has from one network before each further one has to wait.",
        group=COOLDOWN,
        minimum=1,
        maximum=100,
    )
    BASE_COOLDOWN = Whole(
        "CODES_BASE_COOLDOWN",
        60,
        "The first wait, in seconds.",
        group=COOLDOWN,
        minimum=1,
        maximum=86_400,
    )
    COOLDOWN_MULTIPLIER = Number(
        "CODES_COOLDOWN_MULTIPLIER",
        2,
        "Each further wait is this many times the one before.",
        group=COOLDOWN,
        minimum=1,
        maximum=100,
    )
    COOLDOWN_CUTOFF_POINT = Whole(
        "CODES_COOLDOWN_CUTOFF_POINT",
        3600,
        "The longest wait, in seconds.",
        group=COOLDOWN,
        minimum=1,
        maximum=604_800,
    )
    HARD_CAP = OptionalWhole(
        "CODES_HARD_CAP",
        "Failures of one account, from anywhere, after which the page is closed to it until a "
        "new batch, an admin, or a sign-in by other means opens it. NIST SP 800-63B-4 asks for "
        "100; the price is that a stranger who knows an address can close the page to its owner.",
        group=COOLDOWN,
        minimum=1,
        maximum=100,
    )
    CLIENT_RATE = Rate(
        "CODES_CLIENT_RATE",
        "60/m",
        "Sign-in requests from one network, for any account.",
        group=COOLDOWN,
    )
    AUTH_RATE_LIMITER_USE_CACHE = Flag(
        "CODES_AUTH_RATE_LIMITER_USE_CACHE",
        True,
        "Keep a copy of a running wait in the cache, which spares the database. The row decides.",
        group=COOLDOWN,
    )

    NUMBER_OF_CODES = Whole(
        "CODES_NUMBER_OF_CODES",
        10,
        "Codes in a new batch.",
        group=CODES,
        minimum=1,
        maximum=100,
    )
    LOW_CODES_WARNING = Whole(
        "CODES_LOW_CODES_WARNING",
        3,
        "Warn the owner when this many codes, or fewer, are left.",
        group=CODES,
        minimum=0,
        maximum=100,
    )
    STASH_TTL = Whole(
        "CODES_STASH_TTL",
        900,
        "Seconds for which a session may still deliver freshly generated codes.",
        group=CODES,
        minimum=60,
        maximum=86_400,
    )
    REAUTH_MAX_AGE = OptionalWhole(
        "CODES_REAUTH_MAX_AGE",
        "Seconds since the sign-in after which changing codes asks for it again. None: never.",
        group=CODES,
        minimum=30,
        maximum=86_400,
    )

    REDIRECT_VIEW = Text(
        "CODE_REDIRECT_VIEW",
        "recovery_dashboard",
        "URL name or path to go to after signing in with a code.",
        group=PAGES,
    )
    REDIRECT_VIEW_AFTER_LOGOUT = Text(
        "CODE_REDIRECT_VIEW_AFTER_LOGOUT",
        "login_user",
        "URL name or path to go to after signing out.",
        group=PAGES,
    )
    MAX_VISIBLE = Whole(
        "CODE_MAX_VISIBLE",
        20,
        "Batches that the history shows at most.",
        group=PAGES,
        minimum=1,
        maximum=1000,
    )
    PER_PAGE = Whole(
        "CODE_PER_PAGE",
        5,
        "Batches on a page of the history.",
        group=PAGES,
        minimum=1,
        maximum=100,
    )
    CACHE_TTL = Whole(
        "CODES_CACHE_TTL",
        300,
        "Seconds for which a history page stays in the cache.",
        group=PAGES,
        minimum=0,
        maximum=86_400,
    )
    CACHE_MIN = Whole(
        "CODES_CACHE_MIN",
        0,
        "The least that CACHE_TTL may come to, in seconds.",
        group=PAGES,
        minimum=0,
        maximum=86_400,
    )
    CACHE_MAX = Whole(
        "CODES_CACHE_MAX",
        3600,
        "The most that CACHE_TTL may come to, in seconds.",
        group=PAGES,
        minimum=0,
        maximum=86_400,
    )

    DEFAULT_FILE_NAME = FileName(
        "CODES_DEFAULT_FILE_NAME",
        "recovery_codes",
        "Name of a downloaded file, without its ending.",
        group=DELIVERY,
    )
    DEFAULT_FORMAT = Choice(
        "CODES_DEFAULT_FORMAT",
        "txt",
        "Format of a download when none is chosen.",
        group=DELIVERY,
        choices=("txt", "csv", "pdf"),
    )
    PDF_FONT = OptionalText(
        "CODES_PDF_FONT",
        None,
        "Path of a TrueType font for PDFs, for names in other scripts than Latin.",
        group=DELIVERY,
    )
    EMAIL_CODES = Flag(
        "CODES_EMAIL_CODES",
        True,
        "Let users have a batch e-mailed to their own address, once.",
        group=DELIVERY,
    )
    STORE_EMAIL_LOG = Flag(
        "CODE_STORE_EMAIL_LOG",
        False,
        "Keep a row for each e-mail of codes: to whom and whether it left, never the codes.",
        group=DELIVERY,
    )
    EMAIL_SENDER_LOGGING = Flag(
        "CODES_EMAIL_SENDER_LOGGING",
        False,
        "Log each e-mail that is sent.",
        group=DELIVERY,
    )

    ADMIN_EMAIL = Address(
        "CODE_ADMIN_EMAIL", "", "Who gets the reports of scheduled runs.", group=ADMIN
    )
    ADMIN_EMAIL_HOST_USER = Address(
        "CODE_ADMIN_EMAIL_HOST_USER",
        "",
        "The sender of reports. Empty: DEFAULT_FROM_EMAIL.",
        group=ADMIN,
    )
    ADMIN_USERNAME = Text(
        "CODE_ADMIN_USERNAME", "", "The name in a report's greeting.", group=ADMIN
    )
    AUDIT_ENABLE_AUTO_CLEANUP = Flag(
        "CODE_AUDIT_ENABLE_AUTO_CLEANUP",
        False,
        "Remove audit rows older than AUDIT_RETENTION_DAYS by schedule.",
        group=ADMIN,
    )
    AUDIT_RETENTION_DAYS = Whole(
        "CODE_AUDIT_RETENTION_DAYS",
        90,
        "Days for which audit rows are kept.",
        group=ADMIN,
        minimum=1,
        maximum=3650,
    )
    PURGE_DELETE_RETENTION_DAYS = Whole(
        "CODE_PURGE_DELETE_RETENTION_DAYS",
        30,
        "Days for which a used, invalidated, deleted or expired code is kept.",
        group=ADMIN,
        minimum=0,
        maximum=3650,
    )
    PURGE_DELETE_SCHEDULER_USE_LOGGER = Flag(
        "CODE_PURGE_DELETE_SCHEDULER_USE_LOGGER", True, "Log each scheduled purge.", group=ADMIN
    )
    BATCH_DELETE_SIZE = Whole(
        "CODES_BATCH_DELETE_SIZE",
        1000,
        "Rows that a purge removes in one transaction.",
        group=ADMIN,
        minimum=1,
        maximum=100_000,
    )
    MAX_DELETIONS_PER_RUN = Whole(
        "CODES_MAX_DELETIONS_PER_RUN",
        -1,
        "Rows that one run of a purge removes at most. -1: no limit.",
        group=ADMIN,
        minimum=-1,
        maximum=1_000_000_000,
    )


conf = Conf()


def table() -> Iterator[Setting[Any]]:
    """Every setting, in the order in which it is documented."""
    return (row for row in vars(Conf).values() if isinstance(row, Setting))
