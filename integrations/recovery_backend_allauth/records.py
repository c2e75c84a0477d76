"""What a session has proven, by allauth's own record of its steps. Nothing here asks the user row."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from recovery_backend_allauth import bound_records
from recovery_backend_allauth.marker import PRIMARY

Record = Mapping[str, Any]
RECOVERY_CODES = "recovery_codes"
# Seconds by which the clocks of a site's servers may differ: the one that is asked next must not
# refuse the proof of a moment ago.
CLOCK_SKEW = 5


def of_request(request: HttpRequest) -> Sequence[Record]:
    """The steps that the user of this session has completed, oldest first."""
    return bound_records.of_user(request, request.user)


def of_user(request: HttpRequest, user: AbstractBaseUser) -> Sequence[Record]:
    """The steps that this user has completed in this session, also before they are signed in."""
    return bound_records.of_user(request, user)


def of_session(session: SessionBase, user: AbstractBaseUser) -> Sequence[Record]:
    """The steps that this user has completed in this session, which need not be the cookie's."""
    request = HttpRequest()
    request.session = session
    return of_user(request, user)


def mfa_at(records: Sequence[Record]) -> float | None:
    """When the second factor was last proven, in seconds since the epoch; None if it never was.

    A recovery code counts beside another first factor only: whoever finds a list of codes, signs
    in with one and confirms with the next, has proven one factor (R-37).
    """
    happened = [record for record in records if _has_happened(record)]
    has_first = any(is_first_factor(record) for record in happened)
    proven = [record["at"] for record in happened if _counts(record, has_first=has_first)]
    return max(proven, default=None)


def is_satisfied(records: Sequence[Record], max_age: timedelta | None = None) -> bool:
    """Whether a second factor was proven, and not longer ago than `max_age`."""
    return _is_within(mfa_at(records), max_age)


def came_by_code(records: Sequence[Record], max_age: timedelta | None = None) -> bool:
    """Whether the session began with e-mail address and code, not longer ago than `max_age`."""
    began = [
        record["at"] for record in records if is_code_sign_in(record) and _has_happened(record)
    ]
    return _is_within(max(began, default=None), max_age)


def is_by_code_alone(records: Sequence[Record]) -> bool:
    """Whether the latest beginning was e-mail address and code, with no second factor since."""
    # What came before that was a try that its user gave up.
    beginnings = [step for step in records if is_code_sign_in(step) or is_first_factor(step)]
    is_by_code = bool(beginnings) and is_code_sign_in(beginnings[-1])
    return is_by_code and not is_satisfied(records)


def is_code_sign_in(record: Record) -> bool:
    """Whether this step was e-mail address and code, with no factor before."""
    return _is_code(record) and bool(record.get("passwordless"))


def lacks_first_factor(records: Sequence[Record]) -> bool:
    """Whether a code was confirmed with no first factor: a password makes it count, no code can."""
    happened = [record for record in records if _has_happened(record)]
    if any(is_first_factor(record) for record in happened):
        return False
    return any(_is_code(record) and not record.get("passwordless") for record in happened)


def is_first_factor(record: Record) -> bool:
    """Whether this step was a password, a social account, or another first factor."""
    method = record.get("method") if isinstance(record, Mapping) else None
    return isinstance(method, str) and method not in ("", "mfa")


def _is_within(at: float | None, max_age: timedelta | None) -> bool:
    return at is not None and (max_age is None or time.time() - at <= max_age.total_seconds())


def _counts(record: Record, *, has_first: bool) -> bool:
    if _is_code(record):
        return has_first and not record.get("passwordless")
    return _is_mfa(record) and record.get("type") in PRIMARY


def _is_code(record: Record) -> bool:
    return _is_mfa(record) and record.get("type") == RECOVERY_CODES


def _is_mfa(record: Record) -> bool:
    return isinstance(record, Mapping) and record.get("method") == "mfa"


def _has_happened(record: Record) -> bool:
    """False for what is malformed, and for a moment that is still to come."""
    at = record.get("at") if isinstance(record, Mapping) else None
    if isinstance(at, bool) or not isinstance(at, (int, float)):
        return False
    return 0 < at <= time.time() + CLOCK_SKEW


def forget_code_sign_ins(request: HttpRequest) -> None:
    """Drop what tries by e-mail and code, since abandoned, have left in this session's record."""
    records = of_request(request)
    kept = [record for record in records if not is_code_sign_in(record)]
    if len(kept) < len(records):
        request.session[bound_records.STEPS] = kept
