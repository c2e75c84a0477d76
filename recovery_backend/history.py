"""What a user may read about their own codes: the batches, how many are left, what happened.

Everything on the page comes from one cache entry per user. It is as old as the user's newest
audit row, and every change of ours writes one, so it is right the moment anything changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.cache import cache
from django.core.paginator import Page, Paginator
from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy

from recovery_backend import cooldown
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit, logger
from recovery_backend.clients import masked_network
from recovery_backend.conf import conf
from recovery_backend.keys import write_key
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeBatch,
    RecoveryCodeCooldown,
    RecoveryCodeSetup,
    shown_email_state,
)
from recovery_backend.moments import is_over

ACTIVITY_LENGTH = 10
# Most urgent first.
WARNINGS = ("no_codes", "new_codes_required", "expired", "out", "low")


@dataclass(frozen=True, slots=True)
class BatchCard:
    """One batch as its owner sees it."""

    pk: int
    public_id: UUID
    status: str
    issued_at: datetime
    modified_at: datetime
    expires_at: datetime | None
    number_issued: int
    number_used: int
    number_deactivated: int
    number_removed: int
    number_active: int
    """Neither used nor retired: usable, or expired unused, still in the table or purged."""
    has_viewed: bool
    has_downloaded: bool
    email_state: str
    email_queued_at: datetime | None
    is_emergency: bool = False
    # Codes of other packages may end before the list that they joined, or after it.
    number_lapsed: int = 0
    """Of the active ones: those that ended while the list goes on."""
    number_outliving: int = 0
    """Of the active ones: those that go on when the list ends."""
    number_step_only: int = 0
    """Of these: short ones, which are not tested, and never end."""

    @property
    def is_active(self) -> bool:
        return self.status == RecoveryCodeBatch.Status.ACTIVE

    @property
    def is_expired(self) -> bool:
        return is_over(self.expires_at)

    @property
    def number_left(self) -> int:
        """How many codes can still be used."""
        if not self.is_active:
            return 0
        number_current = self.number_active - self.number_lapsed
        return self.number_outliving if self.is_expired else number_current

    @property
    def shown_email_state(self) -> str:
        """none, queued, sent or failed."""
        return shown_email_state(self.email_state, self.email_queued_at)

    @property
    def has_emailed(self) -> bool:
        return self.shown_email_state in {"queued", "sent"}

    @property
    def status_text(self) -> str:
        """What has become of the list, for the owner."""
        has_ended = self.is_active and self.is_expired
        return str(LIST_STATES["expired" if has_ended else self.status])


class Version(NamedTuple):
    """What tells that an entry is out of date; each change of ours changes it.

    The number of audit rows too: of two transactions the one that began first may commit last.
    """

    audit_rows: int | None
    last_audit_row: int | None
    refused_tries: int | None
    tried_at: datetime | None
    passed_test_at: datetime | None
    required_at: datetime | None
    batches: int | None


@dataclass(frozen=True, slots=True)
class Activity:
    """One event of an account in words for its owner."""

    at: datetime
    event: str
    network: str
    is_refusal: bool
    tries: int = 0
    """Refused tries with the account's address since the last sign-in by code, from anywhere."""

    @property
    def text(self) -> str:
        if self.tries:
            return ngettext(
                "%(number)d sign-in with your e-mail address was refused lately.",
                "%(number)d sign-ins with your e-mail address were refused lately.",
                self.tries,
            ) % {"number": self.tries}
        return str(WORDS[Event(self.event)])


@dataclass(frozen=True, slots=True)
class Overview:
    """What the dashboard says about a user's codes."""

    batch: BatchCard | None
    cards: list[BatchCard]
    activity: list[Activity]
    has_passed_test: bool
    required_at: datetime | None = None
    """Since when support asks for new codes."""

    @property
    def left(self) -> int:
        return self.batch.number_left if self.batch else 0

    @property
    def is_expired(self) -> bool:
        return self.batch is not None and self.batch.is_expired

    @property
    def is_out(self) -> bool:
        return self.batch is not None and not self.left

    @property
    def can_test(self) -> bool:
        """Whether there is a code to test; short ones are not, for a test would help to guess them."""
        return self.batch is not None and self.left > self.batch.number_step_only

    @property
    def is_low(self) -> bool:
        return self.batch is not None and self.left <= conf.LOW_CODES_WARNING

    @property
    def warning(self) -> str | None:
        """What the owner should hear first, one of `WARNINGS`; None if all is well."""
        applies = {
            "no_codes": self.batch is None,
            "new_codes_required": self.required_at is not None,
            "expired": self.is_expired,
            "out": self.is_out,
            "low": self.is_low,
        }
        return next((name for name in WARNINGS if applies[name]), None)

    @property
    def needs_new_codes(self) -> bool:
        """Whether generating is what to do first."""
        return self.batch is None or self.is_out or self.required_at is not None

    def page(self, number: Any) -> Page[BatchCard]:
        """A page of the history; the nearest one for a number that is none."""
        return Paginator(self.cards, conf.PER_PAGE).get_page(number)


LIST_STATES = {
    "active": pgettext_lazy("list of codes", "active"),
    "expired": pgettext_lazy("list of codes", "expired"),
    "superseded": pgettext_lazy("list of codes", "replaced by a newer one"),
    "invalidated": pgettext_lazy("list of codes", "invalidated"),
    "deleted": pgettext_lazy("list of codes", "deleted"),
}

# Events that say something to an owner; the others are for the auditor.
WORDS = {
    Event.LOGIN_SUCCESS: _("Someone signed in with one of your codes."),
    Event.LOGIN_SUCCESS_AFTER_FAIL: _("Someone signed in with one of your codes, after failures."),
    Event.LOGIN_FAIL: _("One of your codes was tried and refused."),
    Event.LOGIN_OWNER_MISMATCH: _("One of your codes was tried with another e-mail address."),
    Event.LOGIN_SUSPENDED: _("Signing in with a code was closed after too many failures."),
    Event.COOLDOWN_CLEARED: _("Signing in with a code was opened again."),
    Event.CODE_REPLAY: _("A used code was tried again."),
    Event.CODE_INVALIDATED: _("Codes were taken out of service."),
    Event.CODE_DELETED: _("A code was deleted."),
    Event.ROW_TAMPER: _("A code that does not belong to your account was refused."),
    Event.BATCH_GENERATED: _("Codes were generated."),
    Event.BATCH_REGENERATED: _("New codes replaced the old ones."),
    Event.BATCH_VIEWED: _("Your new codes were shown."),
    Event.BATCH_DOWNLOADED: _("Your codes were downloaded."),
    Event.BATCH_EMAILED: _("Your codes were e-mailed."),
    Event.BATCH_EMAIL_FAILED: _("Your codes could not be e-mailed."),
    Event.BATCH_VERIFIED: _("You tested a code, and it works."),
    Event.BATCH_VERIFY_FAIL: _("A code was tested and is not one of your current ones."),
    Event.BATCH_DELETED: _("All codes were deleted."),
    Event.CODE_REMINDER: _("A reminder about your codes was e-mailed to you."),
    Event.CODE_EXPIRED: _("Your codes expired."),
    Event.BATCH_REQUIRED: _("The people who run the site asked you to generate new codes."),
    Event.BATCH_ADOPTED: _("Codes that you had before were added."),
    Event.BATCH_EMERGENCY: _("The people who run the site had an emergency code sent to you."),
    Event.API_KEY_CREATED: _("An API key was made."),
    Event.API_KEY_REVOKED: _("An API key was revoked."),
    Event.API_KEY_REFUSED: _("An API key of yours that does not work any more was used."),
    Event.MFA_FACTOR_ADDED: _("A second factor was added."),
    Event.MFA_FACTOR_REMOVED: _("A second factor was removed."),
    Event.MFA_FALLBACK_USED: _("One of your codes was used as the second step of a sign-in."),
    Event.MFA_FALLBACK_FAIL: _("A recovery code was refused as the second step of a sign-in."),
}

# Anybody can cause these: only the holder of the genuine key is refused for another reason.
GUESSED_KEY = Q(event=Event.API_KEY_REFUSED, reason=Reason.UNKNOWN)


def overview_of(user: AbstractBaseUser) -> Overview:
    """Everything that the dashboard says about this user: one query when it is cached."""
    seconds = max(conf.CACHE_MIN, min(conf.CACHE_TTL, conf.CACHE_MAX))
    version = _version(user)
    key = cache_key(user)
    shape = (version, conf.MAX_VISIBLE, BatchCard.__slots__)
    cached = _cached(key) if seconds else None
    if cached is not None and cached[0] == shape:
        found: Overview = cached[1]
        return found
    overview = _overview(user, version)
    if seconds:
        _remember(key, (shape, overview), seconds)
    return overview


def cache_key(user: AbstractBaseUser) -> str:
    """Where a user's entry is in the cache: an HMAC, for any primary key, under this site's key."""
    return f"recovery_backend:history:{write_key().mac('audit', 'history', str(user.pk)).hex()}"


def _version(user: AbstractBaseUser) -> Version:
    own = RecoveryCodeAudit.objects.filter(user=OuterRef("pk")).order_by().values("user")
    account = cooldown.account_key(email_of(user)) if email_of(user) else ""
    tries = RecoveryCodeCooldown.objects.filter(key=account, failures__gt=0)
    setup = RecoveryCodeSetup.objects.filter(user=OuterRef("pk"))
    # A purge that removes an empty batch writes no audit row of its owner.
    batches = RecoveryCodeBatch.objects.filter(user=OuterRef("pk")).order_by().values("user")
    values = (
        get_user_model()
        ._base_manager.filter(pk=user.pk)
        .values_list(
            Subquery(own.annotate(number=Count("pk")).values("number")),
            Subquery(own.annotate(last=Max("pk")).values("last")),
            Subquery(tries.values("failures")),
            Subquery(tries.values("updated_at")),
            Subquery(setup.values("verified_at")),
            Subquery(setup.values("new_batch_required_at")),
            Subquery(batches.annotate(number=Count("pk")).values("number")),
        )
        .first()
    )
    return Version(*(values or (None,) * len(Version._fields)))


def _overview(user: AbstractBaseUser, version: Version) -> Overview:
    cards = [_card(batch) for batch in _batches(user)]
    active = next((card for card in cards if card.is_active), None)
    activity = _activity(user)
    if version.refused_tries and version.tried_at:
        tries = Activity(
            version.tried_at, Event.LOGIN_FAIL, "", is_refusal=True, tries=version.refused_tries
        )
        activity = sorted([tries, *activity], key=lambda entry: entry.at, reverse=True)
    has_passed_test = version.passed_test_at is not None
    return Overview(active, cards, activity, has_passed_test, _unanswered(version, active))


def _unanswered(version: Version, active: BatchCard | None) -> datetime | None:
    """Since when support waits for new codes: a later batch is the answer, an emergency code none."""
    if active is not None and active.is_emergency:
        return active.issued_at
    required_at = version.required_at
    is_answered = active is not None and required_at and active.issued_at > required_at
    return None if is_answered else required_at


def card_of(batch: RecoveryCodeBatch) -> BatchCard:
    """One batch with its codes counted, as it stands now."""
    return _card(_counted(RecoveryCodeBatch.objects.filter(pk=batch.pk)).get())


def _batches(user: AbstractBaseUser) -> Iterable[RecoveryCodeBatch]:
    mine = RecoveryCodeBatch.objects.filter(user_id=user.pk)
    return _counted(mine).order_by("-issued_at", "-pk")[: conf.MAX_VISIBLE]


def _counted(batches: QuerySet[RecoveryCodeBatch]) -> QuerySet[RecoveryCodeBatch]:
    status = RecoveryCode.Status
    active = Q(codes__status=status.ACTIVE)
    has_ended = Q(codes__expires_at__lte=timezone.now())
    is_later = Q(codes__expires_at__isnull=True) | Q(codes__expires_at__gt=F("expires_at"))
    return batches.defer("sealed").annotate(
        number_active=_number(status.ACTIVE) + F("purged_expired"),
        number_used=_number(status.USED) + F("purged_used"),
        number_deactivated=_number(status.INVALIDATED) + F("purged_invalidated"),
        number_removed=_number(status.DELETED) + F("purged_deleted"),
        number_lapsed=Count("codes", filter=active & has_ended),
        number_outliving=Count("codes", filter=active & is_later & ~has_ended),
        number_step_only=Count("codes", filter=active & Q(codes__kind=RecoveryCode.Kind.SHORT)),
        retired_last=Max("codes__retired_at"),
    )


def _number(status: str) -> Count:
    return Count("codes", filter=Q(codes__status=status))


def _card(batch: Any) -> BatchCard:
    card = {name: getattr(batch, name) for name in BatchCard.__slots__}
    # A code that is used changes its own row only.
    card["modified_at"] = max(batch.modified_at, batch.retired_last or batch.modified_at)
    number_ended = batch.number_lapsed + batch.purged_expired
    card["number_lapsed"] = 0 if is_over(batch.expires_at) else number_ended
    return BatchCard(**card)


def activity_rows(user: AbstractBaseUser) -> QuerySet[RecoveryCodeAudit]:
    """What the audit knows that says something to this owner, newest first."""
    rows = RecoveryCodeAudit.objects.filter(user_id=user.pk, event__in=WORDS)
    return rows.exclude(GUESSED_KEY).order_by("-at", "-pk")


def activity_from(row: RecoveryCodeAudit) -> Activity:
    """An audit row as its owner may read it."""
    return Activity(row.at, row.event, _network(row), is_refusal=bool(row.reason))


def _activity(user: AbstractBaseUser) -> list[Activity]:
    return [activity_from(row) for row in activity_rows(user)[:ACTIVITY_LENGTH]]


def _network(row: RecoveryCodeAudit) -> str:
    # The first is known by the address alone, which is not proven to be this user's.
    is_foreign = row.event == Event.LOGIN_SUSPENDED or row.is_by_another
    return "" if is_foreign else masked_network(row.address or "")


def _cached(key: str) -> Any:
    try:
        return cache.get(key)
    except Exception as error:  # cache clients raise what they like; the rows are the truth
        logger.warning("history not read from the cache: %s", type(error).__name__)
        return None


def _remember(key: str, value: object, seconds: int) -> None:
    try:
        cache.set(key, value, timeout=seconds)
    except Exception as error:
        logger.warning("history not cached: %s", type(error).__name__)
