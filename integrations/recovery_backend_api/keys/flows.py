"""The journeys of an API key: made, used, denied, revoked. Each records what it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit, cooldown, flows, tasks
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit, logger
from recovery_backend.clients import client_of
from recovery_backend.conf import conf
from recovery_backend.cooldown import Refusal
from recovery_backend.emails import Notice
from recovery_backend.exceptions import CooldownActive, NotTheirs
from recovery_backend.flows.guards import entry_for, entry_of, is_due, throttle
from recovery_backend.keys import write_key
from recovery_backend.transactions import in_transaction
from recovery_backend_api.keys import tokens
from recovery_backend_api.keys.exceptions import KeyRefused, KeysTurnedOff
from recovery_backend_api.keys.models import ApiKey
from recovery_backend_api.keys.tokens import PresentedKey

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass(frozen=True, slots=True)
class Made:
    """A new key: its row, and the text that its owner gets now and never again."""

    key: ApiKey
    text: str = field(repr=False)


@sensitive_variables()
def create(request: HttpRequest, *, name: str, days_to_expire: int | None) -> Made:
    """A new key of the signed-in user, who is told of it. `None` days: it never expires.

    Raises `KeysTurnedOff`, `FactorUnproven` for a user with a second factor that this session has
    not proven, also after a sign-in by code (R-43), `ValueError` for days that API_KEY_MAX_DAYS
    or API_KEY_ALLOW_NO_EXPIRY do not allow, and `CooldownActive` when keys are made too often.
    """
    if not conf.API_KEYS_ENABLED:
        raise KeysTurnedOff
    flows.require_second_factor(request, reverse("recovery_dashboard"), outlives_session=True)
    user, expires_at = cast("User", request.user), _expiry(days_to_expire)

    @sensitive_variables()
    def work() -> Made | Refusal:
        if refusal := cooldown.count_repeat("api_key", user):
            return refusal
        made = _made(user, name, expires_at)
        entry = entry_for(request, Event.API_KEY_CREATED, data={"prefix": made.key.prefix})
        audit.record(entry)
        tasks.notify(Notice.API_KEY_CREATED, entry)
        return made

    made = in_transaction(work)
    if isinstance(made, Refusal):
        throttle(request, made, Reason.COOLDOWN)
    return made


def _expiry(days: int | None) -> datetime | None:
    if days is None:
        if not conf.API_KEY_ALLOW_NO_EXPIRY:
            raise ValueError("An API key has to expire (API_KEY_ALLOW_NO_EXPIRY).")
        return None
    if isinstance(days, bool) or not 1 <= days <= conf.API_KEY_MAX_DAYS:
        raise ValueError(f"days_to_expire must be between 1 and {conf.API_KEY_MAX_DAYS}.")
    return timezone.now() + timedelta(days=days)


@sensitive_variables()
def _made(user: User, name: str, expires_at: datetime | None) -> Made:
    key, prefix = write_key(), tokens.generate_prefix()
    text = tokens.generate(prefix)
    row = ApiKey.objects.create(
        user=user,
        name=name,
        prefix=prefix,
        digest=tokens.stored_digest(text, key, user_id=user.pk),
        key_id=key.id,
        expires_at=expires_at,
    )
    return Made(row, text)


def revoke(request: HttpRequest, prefix: str) -> None:
    """Take a key of the signed-in user out of service for good; once more changes nothing.

    Raises `NotTheirs` for one of somebody else or of nobody (R-97).
    """
    user = cast("User", request.user)
    key = ApiKey.objects.of_user(user).filter(prefix=prefix).first()
    if key is None:
        if is_due(Event.AUTHZ_DENIED, user.pk):
            entry = entry_for(request, Event.AUTHZ_DENIED, reason=Reason.FOREIGN)
            in_transaction(lambda: audit.record(entry))
        raise NotTheirs
    _end(key, request, user)


def revoke_for_owner(request: HttpRequest, key: ApiKey) -> bool:
    """As `revoke`, by an administrator; whether it was in service. Raises `NotAllowed`."""
    flows.require_rank(request, key.user)
    return _end(key, request, cast("User", request.user))


def end_made_with(key_id: str) -> int:
    """Revoke all keys that need this key of the keyring, and tell their owners; how many."""
    keys = ApiKey.objects.usable().filter(key_id=key_id).select_related("user")
    return sum(_end(key, None, None) for key in keys)


def _end(key: ApiKey, request: HttpRequest | None, actor: AbstractBaseUser | None) -> bool:
    def work() -> bool:
        if not key.revoke():
            return False
        entry = _entry(key, Event.API_KEY_REVOKED, request, actor=actor)
        audit.record(entry)
        tasks.notify(Notice.API_KEY_REVOKED, entry)
        return True

    return in_transaction(work)


def use(request: HttpRequest, presented: PresentedKey) -> ApiKey:
    """The usable key that came with this request, with its owner, for whom it speaks.

    One indexed look-up; once a minute the use is noted, once an hour it is recorded. Raises
    `KeyRefused` alike for whatever is wrong, and `CooldownActive` beyond CLIENT_RATE. A right key
    is never made to wait for what others do on its network: 256 bits need no limit against
    guessing.
    """
    key = ApiKey.objects.presented(presented)
    if reason := key.refusal(presented):
        _refuse(request, key, reason)
    if key.is_use_due:
        in_transaction(lambda: _note_use(request, key))
    return key


def _note_use(request: HttpRequest, key: ApiKey) -> None:
    if key.note_use() and is_due(Event.API_KEY_USED, key.pk):
        audit.record(_entry(key, Event.API_KEY_USED, request))


def _refuse(request: HttpRequest, key: ApiKey, reason: Reason) -> NoReturn:
    network = client_of(request).network
    # Only the holder of the genuine key hears another reason: a forgotten program, and no guess,
    # which must not use up what people on its network have for signing in.
    is_guess = reason is Reason.UNKNOWN
    refusal = _counted(request, network) if is_guess else None
    if refusal is None:
        entry = _entry(key, Event.API_KEY_REFUSED, request, reason=reason)
        _record_hourly(entry, network if is_guess else key.pk)
        raise KeyRefused
    if refusal.is_first:
        # Of the network alone, as for codes: whose prefix came last says nothing of them.
        client = client_of(request)
        _record(audit.entry(Event.LOGIN_THROTTLED, client=client, reason=Reason.CLIENT_RATE))
    raise CooldownActive(refusal.wait_seconds)


def _counted(request: HttpRequest, network: str) -> Refusal | None:
    """The try counted as one to sign in with a code; a refusal when CLIENT_RATE is used up."""
    try:
        return cooldown.count_request(request, network)
    except ImproperlyConfigured:
        raise
    except Exception as error:  # cache clients raise what they like; the key is refused anyway
        logger.error("API key not counted: %s", type(error).__name__)
        return None


def note_denied(request: HttpRequest, key: ApiKey) -> None:
    """Record that a key tried what no key may do, the plainest sign of a stolen one.

    Once for a request, however often the framework asks for its permissions.
    """
    if not hasattr(request, "recovery_key_denied"):
        request.recovery_key_denied = True  # type: ignore[attr-defined]
        # By prefix: this event is counted by the primary keys of users too.
        _record_hourly(_entry(key, Event.AUTHZ_DENIED, request, reason=Reason.POLICY), key.prefix)


def _record_hourly(entry: RecoveryCodeAudit, subject: object) -> None:
    """One row an hour; each is logged (R-122)."""
    if is_due(Event(entry.event), subject):
        _record(entry)
    else:
        audit.log_only(entry)


def _record(entry: RecoveryCodeAudit) -> None:
    in_transaction(lambda: audit.record(entry))


def _entry(
    key: ApiKey, event: Event, request: HttpRequest | None, **fields: Any
) -> RecoveryCodeAudit:
    if key.pk is None:  # of nobody
        return audit.entry(event, client=client_of(request), **fields)
    by_nobody = {"actor": None} if fields.get("reason") else {}
    data = {"prefix": key.prefix}
    return entry_of(key.user, event, request, data=data, **(by_nobody | fields))
