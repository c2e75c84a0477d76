"""How long a client has to wait: failures are counted before a code is looked at (R-50 to R-61).

Two counters, both durable rows: one for an account from one network, which makes that pair wait,
and one for the account from everywhere, which alerts its owner and blocks only under HARD_CAP.
In front of them django-ratelimit bounds the requests of one network, for whatever account.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, connection, models
from django.db.models import Case, Count, F, Max, Q, Sum, Value, When
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_ratelimit import ALL
from django_ratelimit.core import get_usage

from recovery_backend.addresses import canonical_email, email_of
from recovery_backend.conf import conf
from recovery_backend.keys import write_key
from recovery_backend.transactions import in_transaction

Repeated = Literal["generate", "email", "api_key"]

# What a person does to their own codes starts from nothing again after a quiet day.
QUIET = timedelta(days=1)
# An account whose owner is at work never fails so often; beyond it is a flood from many networks.
MAX_RECORDED = 100
NOTICE_RATE = "5/h"
EVENT_RATE = "1/h"
ALERT_RATE = "30/h"
FORGOTTEN_AT_ONCE = 1000


class RecoveryCodeCooldown(models.Model):
    """Failures of one account: from one network, or (where `key` is `account`) from everywhere.

    Keys are HMACs, so the table names nobody (R-65).
    """

    key = models.CharField(_("key"), max_length=64, primary_key=True, editable=False)
    account = models.CharField(_("account"), max_length=64, editable=False)
    failures = models.PositiveIntegerField(_("failures"), default=0)
    refused = models.PositiveIntegerField(_("refused while waiting"), default=0)
    blocked_until = models.DateTimeField(_("waits until"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("cooldown")
        verbose_name_plural = _("cooldowns")
        permissions = [("clear_recoverycodecooldown", _("Can clear a cooldown"))]
        # Not db_index: PostgreSQL would get a second index, for LIKE, that nobody needs.
        indexes = [models.Index(fields=["account"], name="recovery_cooldown_account")]

    def __str__(self) -> str:
        return self.key[:12]

    @property
    def is_account_wide(self) -> bool:
        return self.key == self.account

    def wait_seconds(self, now: datetime) -> int:
        """Whole seconds until the next try is allowed; 0 when it is allowed now."""
        if self.blocked_until is None or self.blocked_until <= now:
            return 0
        return math.ceil((self.blocked_until - now).total_seconds())


@dataclass(frozen=True, slots=True)
class Charge:
    """A try that was counted, and may be looked at."""

    account: str
    pair: str
    wait_seconds: int
    """Until the next try, should this one fail."""
    failures: int
    """Failures of the account from everywhere, this try included."""
    has_failed_before: bool
    closes_account: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A try that has to wait, and was not counted."""

    wait_seconds: int
    is_first: bool
    """Whether nobody was refused before during this same wait, and the account is not flooded."""
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with the tries of an account. Names no network."""

    failures: int
    """From everywhere, since the last sign-in by code."""
    networks: int
    """From which failures came."""
    networks_waiting: int
    wait_seconds: int
    """The longest wait of a network."""
    is_closed: bool
    """By HARD_CAP."""


def wait_after(failures: int) -> int:
    """Seconds to wait after that many failures in a row: min(CUTOFF, BASE * MULTIPLIER**k) (R-53)."""
    steps = failures - conf.MAX_LOGIN_ATTEMPTS
    if steps < 0:
        return 0
    base, multiplier, cutoff = (
        conf.BASE_COOLDOWN,
        conf.COOLDOWN_MULTIPLIER,
        conf.COOLDOWN_CUTOFF_POINT,
    )
    # Compared as logarithms: 2.0 ** 1100 overflows a float.
    if math.log(base) + steps * math.log(multiplier) >= math.log(cutoff):
        return cutoff
    return math.floor(base * multiplier**steps)


def account_key(email: object) -> str:
    """The counter of an account: one for all spellings of its address."""
    return write_key().mac("throttle", "account", canonical_email(email)).hex()


def pair_key(account: str, network: str) -> str:
    """The counter of an account as seen from one network."""
    return write_key().mac("throttle", "pair", account, network).hex()


def charge(email: object, network: str) -> Charge | Refusal:
    """Count one try against the account and its pair with this network, or refuse it.

    Exact under concurrency: of forty parallel tries with five allowed, five are charged and
    thirty-five refused (R-51). A refused try changes nobody's wait (R-57).
    """
    account = account_key(email)
    pair = pair_key(account, network)
    result = in_transaction(lambda: _charge(account, pair))
    if conf.AUTH_RATE_LIMITER_USE_CACHE and isinstance(result, Charge) and result.wait_seconds:
        _remember_wait(pair, result.wait_seconds)
    return result


def _charge(account: str, pair: str) -> Charge | Refusal:
    now = timezone.now()
    rows = _locked_rows(account, pair)
    is_new = {key: key not in rows for key in (account, pair)}
    for key in (account, pair):
        rows.setdefault(key, RecoveryCodeCooldown(key=key, account=account))

    cap = conf.HARD_CAP
    if cap is not None and rows[account].failures >= cap:
        return _refuse(rows[account], conf.COOLDOWN_CUTOFF_POINT)
    if wait := rows[pair].wait_seconds(now):
        return _refuse(rows[pair], wait, is_flooded=rows[account].failures > MAX_RECORDED)

    has_failed_before = rows[pair].failures > 0
    for row in rows.values():
        row.failures += 1
        row.updated_at = now
    wait = wait_after(rows[pair].failures)
    until = now + timedelta(seconds=wait) if wait else None
    rows[pair].blocked_until = until
    # A raced first try fails here on the primary key, and starts over with the row in place.
    if created := [row for row in rows.values() if is_new[row.key]]:
        RecoveryCodeCooldown.objects.bulk_create(created)
    if changed := [row.key for row in rows.values() if not is_new[row.key]]:
        RecoveryCodeCooldown.objects.filter(key__in=changed).update(
            failures=F("failures") + 1,
            refused=0,
            blocked_until=Case(When(key=pair, then=Value(until))) if until else None,
            updated_at=now,
        )
    return Charge(
        account=account,
        pair=pair,
        wait_seconds=wait,
        failures=rows[account].failures,
        has_failed_before=has_failed_before,
        closes_account=rows[account].failures == cap,
    )


def _locked_rows(*keys: str) -> dict[str, RecoveryCodeCooldown]:
    rows = RecoveryCodeCooldown.objects.filter(key__in=keys)
    if connection.features.has_select_for_update:
        # In one order for everybody, so that no two tries wait for each other.
        rows = rows.order_by("key").select_for_update()
    else:
        # SQLite has one writer; a first write makes us it before anything is read.
        rows.update(failures=F("failures"))
    return {row.key: row for row in rows}


def _refuse(row: RecoveryCodeCooldown, wait_seconds: int, *, is_flooded: bool = False) -> Refusal:
    RecoveryCodeCooldown.objects.filter(pk=row.key).update(refused=F("refused") + 1)
    is_first = row.refused == 0 and not is_flooded
    return Refusal(wait_seconds, is_first=is_first, is_closed=row.is_account_wide)


def give_back(charged: Charge) -> None:
    """Forget the failures of a pair and its account after a success (R-58)."""
    keys = sorted((charged.account, charged.pair))
    RecoveryCodeCooldown.objects.filter(key__in=keys).update(
        failures=0, refused=0, blocked_until=None, updated_at=timezone.now()
    )
    _forget_wait([charged.pair])


def refund(charged: Charge) -> None:
    """Take back one charge, with the wait that it set: what failed before stays counted.

    For a success that proves nothing about the address, which may be somebody else's.
    """
    keys = sorted((charged.account, charged.pair))
    RecoveryCodeCooldown.objects.filter(key__in=keys, failures__gt=0).update(
        failures=F("failures") - 1, blocked_until=None, updated_at=timezone.now()
    )
    if charged.wait_seconds:
        _forget_wait([charged.pair])


def wait_seconds(email: object, network: str) -> int:
    """Seconds that this account has to wait on this network; 0 when a try is allowed.

    With AUTH_RATE_LIMITER_USE_CACHE only the cached copy is read, so a lost copy reads as 0;
    `charge` still refuses.
    """
    pair = pair_key(account_key(email), network)
    if conf.AUTH_RATE_LIMITER_USE_CACHE:
        until: float = cache.get(_cache_key(pair), 0)
        return max(0, math.ceil(until - time.time()))
    row = RecoveryCodeCooldown.objects.filter(key=pair).first()
    return row.wait_seconds(timezone.now()) if row else 0


def is_known_refusal(email: object, network: str, seconds: int) -> bool:
    """Whether the cache remembers a refusal of this wait; from now on it does."""
    pair = pair_key(account_key(email), network)
    return not cache.add(f"{_cache_key(pair)}:refused", True, timeout=seconds)


def is_first_refusal(email: object, network: str) -> bool:
    """As `Refusal.is_first`. True for one caller during this wait."""
    account = account_key(email)
    rows = RecoveryCodeCooldown.objects.all()
    first = rows.filter(key=pair_key(account, network), refused=0).update(refused=1)
    return first == 1 and rows.filter(key=account, failures__lte=MAX_RECORDED).exists()


def standing_of(user: AbstractBaseUser) -> Standing:
    """How it stands with the tries of this user's account, from everywhere."""
    now = timezone.now()
    # Without an address there is no account, and tries without one are everybody's.
    account = account_key(email_of(user)) if email_of(user) else ""
    own = [_repeat_key(what, user) for what in get_args(Repeated)]
    rows = RecoveryCodeCooldown.objects.filter(account=account).exclude(key__in=own)
    of_network = ~Q(key=account)
    is_waiting = of_network & Q(blocked_until__gt=now)
    # Not loaded: a distributed attack leaves a row of each network.
    sums = rows.aggregate(
        total=Sum("failures", filter=Q(key=account), default=0),
        networks=Count("pk", filter=of_network & Q(failures__gt=0)),
        waiting=Count("pk", filter=is_waiting),
        until=Max("blocked_until", filter=is_waiting),
    )
    return Standing(
        failures=sums["total"],
        networks=sums["networks"],
        networks_waiting=sums["waiting"],
        wait_seconds=math.ceil((sums["until"] - now).total_seconds()) if sums["until"] else 0,
        is_closed=conf.HARD_CAP is not None and sums["total"] >= conf.HARD_CAP,
    )


def clear(account: str) -> int:
    """Let an account (by `account_key`) try again at once, from everywhere.

    Returns how many counters were dropped.
    """
    rows = RecoveryCodeCooldown.objects.filter(account=account)
    waiting = rows.filter(blocked_until__gt=timezone.now())
    _forget_wait(list(waiting.values_list("key", flat=True)))
    # Nothing points to them, and a distributed attack leaves more than one wants to load.
    return rows._raw_delete(DEFAULT_DB_ALIAS)


def open_account(email: object) -> bool:
    """Open an account that HARD_CAP had closed. Returns whether it was closed."""
    if (cap := conf.HARD_CAP) is None:
        return False
    return bool(
        RecoveryCodeCooldown.objects.filter(key=account_key(email), failures__gte=cap).update(
            failures=0, refused=0, updated_at=timezone.now()
        )
    )


def is_recorded(failures: int) -> bool:
    """Whether the failure with this count has a row: the first hundred, then 200, 300 ... 1000,
    2000 ..., so that rows grow with the logarithm of failures (R-122).
    """
    return failures <= MAX_RECORDED or not str(failures)[1:].strip("0")


def stale(now: datetime, retention: timedelta) -> models.QuerySet[RecoveryCodeCooldown]:
    """Counters that nobody has touched, and nobody had to wait for, during the retention.

    None while what is done is still counted, or a wait could still grow; and never the counter
    that keeps an account closed (HARD_CAP).
    """
    growing = timedelta(seconds=2 * conf.COOLDOWN_CUTOFF_POINT)
    moment = now - max(retention, QUIET, growing)
    rows = RecoveryCodeCooldown.objects.filter(
        Q(blocked_until__isnull=True) | Q(blocked_until__lte=moment), updated_at__lte=moment
    )
    if (cap := conf.HARD_CAP) is not None:
        rows = rows.exclude(key=F("account"), failures__gte=cap)
    return rows


def is_alert_threshold(failures: int) -> bool:
    """Whether the owner is told now: at 10, 100, 1000 ... failures, so mails stay few (R-122)."""
    return failures >= 10 and str(failures).strip("0") == "1"


def count_repeat(what: Repeated, user: AbstractBaseUser) -> Refusal | None:
    """Count one more of these by this user; a refusal while they have to wait (R-62).

    The first ones of a day are free, then each makes the next one wait, as failures do.
    """
    key = _repeat_key(what, user)
    return in_transaction(lambda: _count_repeat(key, account_key(email_of(user))))


def repeat_wait_seconds(what: Repeated, user: AbstractBaseUser) -> int:
    """Seconds until this user may do it again; 0 when they may. Counts nothing."""
    row = RecoveryCodeCooldown.objects.filter(key=_repeat_key(what, user)).first()
    return row.wait_seconds(timezone.now()) if row else 0


def _repeat_key(what: Repeated, user: AbstractBaseUser) -> str:
    return write_key().mac("throttle", "repeat", what, str(user.pk)).hex()


def _count_repeat(key: str, account: str) -> Refusal | None:
    now = timezone.now()
    row = _locked_rows(key).get(key)
    if row and (wait := row.wait_seconds(now)):
        return _refuse(row, wait)
    # Compared with the end of the last wait, which lasts longer than QUIET for some settings.
    is_quiet = row is None or (row.blocked_until or row.updated_at) <= now - QUIET
    count = 1 if row is None or is_quiet else row.failures + 1
    wait = wait_after(count)
    counted = {
        "failures": count,
        "refused": 0,
        "blocked_until": now + timedelta(seconds=wait) if wait else None,
        "updated_at": now,
    }
    if row is None:  # a raced first one fails on the primary key, and starts over
        RecoveryCodeCooldown.objects.create(key=key, account=account, **counted)
    else:
        RecoveryCodeCooldown.objects.filter(key=key).update(**counted)
    return None


def count_request(request: HttpRequest, network: str) -> Refusal | None:
    """Count a sign-in request of this network; a refusal when CLIENT_RATE is used up (R-54)."""
    return _rate_refusal(request, "sign_in", network, conf.CLIENT_RATE, increment=True)


def client_refusal(request: HttpRequest, network: str) -> Refusal | None:
    """The refusal of a network that has used up CLIENT_RATE. Counts nothing."""
    return _rate_refusal(request, "sign_in", network, conf.CLIENT_RATE, increment=False)


def count_action(request: HttpRequest, user: AbstractBaseUser) -> Refusal | None:
    """Count what a user does to their codes; a refusal when CLIENT_RATE is used up (R-62)."""
    return _rate_refusal(request, "action", str(user.pk), conf.CLIENT_RATE, increment=True)


def is_notice_due(notice: str, user_id: object) -> bool:
    """Whether another message of this kind may go to the user: five an hour (R-122)."""
    return _is_due("notice", f"{user_id} {notice}", NOTICE_RATE)


def is_event_due(event: str, user_id: object) -> bool:
    """Whether another event of this kind is recorded of the user: one an hour (R-122)."""
    return _is_due("event", f"{user_id} {event}", EVENT_RATE)


def is_alert_due(event: str) -> bool:
    """Whether another event of this kind is told to the administrator: thirty an hour (R-122)."""
    return _is_due("alert", event, ALERT_RATE)


def _is_due(what: str, subject: str, rate: str) -> bool:
    usage = _usage(HttpRequest(), what, subject, rate, increment=True)
    # A cache that cannot count says 0 of 0: rather once too often than never.
    return usage is None or usage["count"] <= usage["limit"]


def _rate_refusal(
    request: HttpRequest, what: str, subject: str, rate: str, *, increment: bool
) -> Refusal | None:
    usage = _usage(request, what, subject, rate, increment=increment)
    if usage is None or not usage["should_limit"]:
        return None
    return Refusal(max(1, usage["time_left"]), is_first=usage["count"] == usage["limit"] + 1)


def _usage(
    request: HttpRequest, what: str, subject: str, rate: str, *, increment: bool
) -> dict[str, int] | None:
    value = write_key().mac("throttle", what, subject).hex()
    usage: dict[str, int] | None = get_usage(
        request,
        group=f"recovery_backend.{what}",
        key=lambda group, request: value,
        rate=rate,
        method=ALL,
        increment=increment,
    )
    return usage


def _cache_key(pair: str) -> str:
    return f"recovery_backend:cooldown:{pair}"


def _remember_wait(pair: str, seconds: int) -> None:
    cache.set(_cache_key(pair), time.time() + seconds, timeout=seconds)


def _forget_wait(pairs: list[str]) -> None:
    if not conf.AUTH_RATE_LIMITER_USE_CACHE:
        return
    keys = [_cache_key(pair) for pair in pairs]
    for start in range(0, len(keys), FORGOTTEN_AT_ONCE):
        some = keys[start : start + FORGOTTEN_AT_ONCE]
        cache.delete_many([*some, *(f"{key}:refused" for key in some)])
