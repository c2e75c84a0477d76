"""What a scheduled run notices: settings with warnings, keys, and sign-ins to tell somebody of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core import checks
from django.core.cache import cache
from django.db.models import Count, Max, Min, Q, QuerySet, Sum
from django.utils import timezone

from recovery_backend import audit, cooldown, emails, keyed_rows
from recovery_backend.audit import Event, RecoveryCodeAudit, logger
from recovery_backend.conf import conf
from recovery_backend.keys import keyring, write_key
from recovery_backend.models import RecoveryCode
from recovery_backend.transactions import in_transaction

# Events of sign-ins that only a genuine code can cause, and from how many of one user on an
# administrator is told. Not at once: what a sign-in costs would say that its code is genuine.
TOLD_LATER = {Event.LOGIN_OWNER_MISMATCH: 1, Event.CODE_REPLAY: 3}
TOLD_KEY = "recovery_backend:posture:told"
# Counted over this time. A cache that has forgotten what was told has it told again.
RECENTLY = timedelta(days=7)
# After this time no row is committed any more with a lower number than one that was seen.
SETTLED = timedelta(seconds=10)
MAX_NAMED = 5


def look() -> None:
    """Record what changed since the last look, and tell ADMIN_EMAIL what could not be told at once.

    One row for each change: SETTINGS_INSECURE, KEY_ROTATED, KEY_UNKNOWN.
    """
    _look_at_settings()
    _look_at_key()
    _look_at_lost_keys()
    if conf.ADMIN_EMAIL:
        for event, least in TOLD_LATER.items():
            _tell_of_sign_ins(event, least)


def _look_at_settings() -> None:
    found = checks.run_checks(tags=[checks.Tags.security], include_deployment_checks=True)
    ids = {
        str(message.id)
        for message in found
        if message.level >= checks.WARNING and not message.is_silenced()
    }
    ours = sorted(name for name in ids if name.startswith("recovery_backend."))
    if ours != _last(Event.SETTINGS_INSECURE).get("checks", []):
        _record(Event.SETTINGS_INSECURE, {"checks": ours})


def _look_at_key() -> None:
    key_id = write_key().id
    newest = RecoveryCode.objects.order_by("-pk").values_list("key_id", flat=True)
    before = _last(Event.KEY_ROTATED).get("key_id") or newest.first()
    if before and before != key_id:
        _record(Event.KEY_ROTATED, {"key_id": key_id, "before": before})


def _look_at_lost_keys() -> None:
    known = {key.id for key in keyring()}
    codes = RecoveryCode.objects.usable().exclude(key_id__in=known)
    numbers = codes.values_list("key_id").annotate(number=Count("pk")).order_by("key_id")
    lost = {"number_of_codes": dict(numbers)}
    for rows in keyed_rows.registered():
        lost[rows.field] = {kid: n for kid, n in rows.numbers().items() if kid not in known}
    key_ids = sorted({kid for each in lost.values() for kid in each})
    # Their number falls by itself, as codes expire; that is no news.
    if key_ids != _last(Event.KEY_UNKNOWN).get("key_ids", []):
        sums = {name: sum(each.values()) for name, each in lost.items()}
        _record(Event.KEY_UNKNOWN, {**sums, "key_ids": key_ids})


def _last(event: Event) -> dict[str, Any]:
    """The data of the newest row of this event: what the last look saw."""
    rows = RecoveryCodeAudit.objects.filter(event=event).order_by("-at", "-pk")
    return rows.values_list("data", flat=True).first() or {}


def _record(event: Event, data: dict[str, Any]) -> None:
    # Servers whose settings differ would each report the other's change for ever.
    if cooldown.is_event_due(str(event), data):
        in_transaction(lambda: audit.record(audit.entry(event, data=data)))


def _tell_of_sign_ins(event: Event, least: int) -> None:
    """Tell of all owners to whom it happened since they were last told of, in one message."""
    now, key = timezone.now(), f"{TOLD_KEY}:{event}"
    rows = RecoveryCodeAudit.objects.filter(event=event, at__gt=now - RECENTLY)
    # Before the search: what is written during it is for the next look.
    told, newest = cache.get(key, 0), _last_settled(rows, now)
    if newest <= told:
        return
    by_owner = rows.filter(pk__lte=newest).values("user")
    found = by_owner.annotate(number=Count("pk"), newest=Max("pk")).order_by("-newest")
    due = found.filter(newest__gt=told, number__gte=least)
    if not due.exists() or _is_told(event, due):
        cache.set(key, newest, timeout=None)


def _last_settled(rows: QuerySet[RecoveryCodeAudit], now: datetime) -> int:
    """A number up to which no row is to come any more."""
    is_fresh = Q(at__gt=now - SETTLED, at__lte=now)
    found = rows.aggregate(newest=Max("pk"), fresh=Min("pk", filter=is_fresh))
    return found["fresh"] - 1 if found["fresh"] else found["newest"] or 0


def _is_told(event: Event, due: QuerySet[Any, Any]) -> bool:
    if not cooldown.is_event_due(f"{event} told", "admin"):
        return False
    sums = due.aggregate(times=Sum("number"), users=Count("*"))
    named = [str(row["user"]) for row in due[:MAX_NAMED] if row["user"]]
    newest = due.values_list("newest", flat=True)[0]
    try:
        return emails.send_alert(
            RecoveryCodeAudit.objects.get(pk=newest),
            number=sums["times"],
            number_of_users=sums["users"],
            users=named,
        )
    except Exception as error:  # mail libraries raise what they like
        logger.error("alert not sent audit=%s: %s", newest, type(error).__name__)
        return False
