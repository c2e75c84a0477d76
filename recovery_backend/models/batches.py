"""The codes that a user got at one time: made, delivered and ended together."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connection, models, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit, codes, cooldown, signals
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.clients import NOBODY, Client
from recovery_backend.conf import conf
from recovery_backend.exceptions import WouldReplace
from recovery_backend.models.codes import PartialIndex, RecoveryCode, RecoveryCodeQuerySet
from recovery_backend.transactions import in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MAX_DAYS_TO_EXPIRE = 3650
EMERGENCY_HOURS = 1
Seal = Callable[[uuid.UUID, Sequence[str]], str]

# Where a batch counts its codes that the purge has removed, by what had become of them.
COUNTERS = {
    RecoveryCode.Status.ACTIVE: "purged_expired",
    RecoveryCode.Status.USED: "purged_used",
    RecoveryCode.Status.INVALIDATED: "purged_invalidated",
    RecoveryCode.Status.DELETED: "purged_deleted",
}
PURGED = tuple(COUNTERS.values())
IN_THE_QUEUE = {"email_state__in": ["queued", "sending"]}


class RecoveryCodeBatchQuerySet(models.QuerySet["RecoveryCodeBatch"]):
    def active_of(self, user: AbstractBaseUser) -> RecoveryCodeBatch | None:
        """The user's active batch."""
        return self.filter(user_id=user.pk, status=RecoveryCodeBatch.Status.ACTIVE).first()

    def current(self) -> RecoveryCodeBatchQuerySet:
        """Active batches that have not expired."""
        has_no_end = Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now())
        return self.filter(has_no_end, status=RecoveryCodeBatch.Status.ACTIVE)

    def newly_expired(self) -> RecoveryCodeBatchQuerySet:
        """Batches that expired while they were active, which nobody has recorded yet."""
        return self.filter(
            status=RecoveryCodeBatch.Status.ACTIVE, expires_at__lte=timezone.now()
        ).exclude(expiry_note=RecoveryCodeBatch.ExpiryNote.EXPIRED)

    def forget_sealed(self) -> int:
        """Drop the ciphertext of these batches for good; from how many."""
        return self.exclude(sealed="").update(sealed="")

    def sealed_before(self, moment: datetime) -> RecoveryCodeBatchQuerySet:
        """Batches issued at that moment or before that still hold ciphertext."""
        return self.filter(issued_at__lte=moment).exclude(sealed="")

    def left_empty(self, without: RecoveryCodeQuerySet | None = None) -> RecoveryCodeBatchQuerySet:
        """Batches of which the purge has removed every code, or will have `without` these."""
        purged = sum((F(name) for name in PURGED), start=Value(0))
        mine = RecoveryCode.objects.filter(batch=OuterRef("pk"))
        if without is None:
            return self.filter(~Exists(mine), number_issued=purged)
        going = _number_of(without.filter(batch=OuterRef("pk")))
        return self.alias(going=going, here=_number_of(mine)).filter(
            going=F("here"), number_issued=purged + F("going")
        )


@dataclass(frozen=True, slots=True)
class Issued:
    """A new batch, the plaintext of its codes, and the audit row that tells of it."""

    codes: list[str] = field(repr=False)
    batch: RecoveryCodeBatch
    entry: RecoveryCodeAudit


class RecoveryCodeBatch(models.Model):
    """The codes that a user got at one time. A user has at most one active batch."""

    class Status(models.TextChoices):
        ACTIVE = "active", _("active")
        SUPERSEDED = "superseded", _("replaced by newer codes")
        INVALIDATED = "invalidated", _("invalidated")
        DELETED = "deleted", _("deleted")

    class EmailState(models.TextChoices):
        NONE = "none", _("not e-mailed")
        QUEUED = "queued", _("queued")
        SENDING = "sending", _("being sent")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")

    class ExpiryNote(models.TextChoices):
        NONE = "none"
        REMINDED = "reminded"
        EXPIRED = "expired"

    public_id = models.UUIDField(_("batch id"), default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="recovery_code_batches",
    )
    status = models.CharField(
        _("status"), max_length=12, choices=Status.choices, default=Status.ACTIVE
    )
    issued_at = models.DateTimeField(_("issued"), default=timezone.now)
    modified_at = models.DateTimeField(_("modified"), auto_now=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    retired_at = models.DateTimeField(_("retired"), null=True, blank=True)
    number_issued = models.PositiveSmallIntegerField(_("codes issued"))
    has_viewed = models.BooleanField(_("has viewed"), default=False)
    has_downloaded = models.BooleanField(_("has downloaded"), default=False)
    email_state = models.CharField(
        _("e-mail"), max_length=7, choices=EmailState.choices, default=EmailState.NONE
    )
    email_queued_at = models.DateTimeField(_("e-mail queued"), null=True, blank=True)
    is_emergency = models.BooleanField(
        _("emergency code"),
        default=False,
        help_text=_("One code, sent to the owner at the request of an administrator."),
    )

    # Codes that the purge has removed, by what had become of them; the others are counted.
    purged_used = models.PositiveSmallIntegerField(default=0, editable=False)
    purged_invalidated = models.PositiveSmallIntegerField(default=0, editable=False)
    purged_deleted = models.PositiveSmallIntegerField(default=0, editable=False)
    purged_expired = models.PositiveSmallIntegerField(default=0, editable=False)

    # What the owner was told of; each claimed by a conditional UPDATE.
    expiry_note = models.CharField(
        max_length=8, choices=ExpiryNote.choices, default=ExpiryNote.NONE, editable=False
    )
    few_left_told_at = models.DateTimeField(null=True, editable=False)
    asked_at = models.DateTimeField(null=True, editable=False)

    # The plaintext on its way to the owner, as ciphertext; see stash.py.
    sealed = models.TextField(default="", editable=False)

    objects = RecoveryCodeBatchQuerySet.as_manager()

    class Meta:
        verbose_name = _("batch of recovery codes")
        verbose_name_plural = _("batches of recovery codes")
        constraints = [
            models.UniqueConstraint(
                fields=["user"],
                condition=Q(status="active"),
                name="recovery_batch_one_active",
            )
        ]
        indexes = [
            models.Index(fields=["user", "-issued_at"], name="recovery_batch_user_issued"),
            models.Index(fields=["issued_at"], name="recovery_batch_issued"),
            models.Index(fields=["status", "issued_at"], name="recovery_batch_status_issued"),
            PartialIndex(
                fields=["status", "expires_at"],
                condition=Q(status="active", expires_at__isnull=False),
                name="recovery_batch_expiring",
            ),
            # Ciphertext that nobody fetched any more; there are only ever a few.
            PartialIndex(
                fields=["issued_at", "id"],
                condition=~Q(sealed=""),
                name="recovery_batch_sealed",
            ),
        ]
        permissions = [
            ("revoke_recoverycodebatch", _("Can revoke a user's codes")),
            ("require_recoverycodebatch", _("Can require a new batch")),
            ("send_emergency_code", _("Can send a user an emergency code")),
        ]

    def __str__(self) -> str:
        return str(self.public_id)

    @classmethod
    @sensitive_variables()
    def create_recovery_batch(
        cls,
        user: AbstractBaseUser,
        days_to_expire: int | None = None,
        number_of_codes: int | None = None,
    ) -> tuple[list[str], RecoveryCodeBatch]:
        """New codes in display form, and their saved batch; the user's old codes end (R-44).

        The codes exist in the returned list only. `days_to_expire=None` means that they do not
        expire; `number_of_codes=None` means NUMBER_OF_CODES. Raises `ValueError` for a number out
        of bounds (R-06), `ImproperlyConfigured` without a usable key, and for a user who is not in
        the database the user model's `DoesNotExist`, or `IntegrityError` on SQLite.
        """
        issued = cls.issue(user, days_to_expire, number_of_codes)
        return issued.codes, issued.batch

    @classmethod
    @sensitive_variables()
    def issue(
        cls,
        user: AbstractBaseUser,
        days_to_expire: int | None = None,
        number_of_codes: int | None = None,
        *,
        client: Client = NOBODY,
        actor: AbstractBaseUser | None = None,
        may_replace: bool = True,
        seal: Seal | None = None,
    ) -> Issued:
        """As `create_recovery_batch`, for callers who know on whose request it happens.

        `seal` makes the ciphertext that the row keeps until the codes are delivered. Raises
        `WouldReplace`, with nothing changed, when a batch is active and must not be replaced.
        """
        days = _bounded("days_to_expire", days_to_expire, MAX_DAYS_TO_EXPIRE)
        count = _bounded("number_of_codes", number_of_codes, 100) or conf.NUMBER_OF_CODES
        lifetime = timedelta(days=days) if days else None
        return in_transaction(
            lambda: cls._issue(user, lifetime, count, client, actor, may_replace, seal)
        )

    @classmethod
    @sensitive_variables()
    def issue_emergency(
        cls, user: AbstractBaseUser, *, client: Client, actor: AbstractBaseUser
    ) -> Issued:
        """One code that lasts for EMERGENCY_HOURS, in place of the codes that the user has.

        It is for getting in once: as long as it is the active one, the user is asked for new codes.
        """
        lifetime = timedelta(hours=EMERGENCY_HOURS)
        return in_transaction(
            lambda: cls._issue(user, lifetime, 1, client, actor, is_emergency=True)
        )

    @classmethod
    @sensitive_variables()
    def _issue(
        cls,
        owner: AbstractBaseUser,
        lifetime: timedelta | None,
        count: int,
        client: Client,
        actor: AbstractBaseUser | None,
        may_replace: bool = True,
        seal: Seal | None = None,
        *,
        is_emergency: bool = False,
    ) -> Issued:
        user = cast("User", owner)
        lock(user)
        now = timezone.now()
        replaced = cls._retire_active(user, now)
        if replaced and not may_replace:
            raise WouldReplace  # which rolls back
        plain_codes = [codes.generate() for _number in range(count)]
        public_id = uuid.uuid4()
        batch = cls.objects.create(
            public_id=public_id,
            user=user,
            issued_at=now,
            expires_at=now + lifetime if lifetime else None,
            number_issued=count,
            is_emergency=is_emergency,
            sealed=seal(public_id, plain_codes) if seal else "",
        )
        rows = []
        for code in plain_codes:  # a comprehension's variables would show in an error report
            rows.append(RecoveryCode.made_from(code, batch))
        RecoveryCode.objects.bulk_create(rows)
        entries = _generated_entries(batch, replaced, client, actor)
        if cooldown.open_account(email_of(user)):
            entries.append(audit.entry(Event.COOLDOWN_CLEARED, user=user, email=email_of(user)))
        audit.record(*entries)
        transaction.on_commit(
            lambda: signals.codes_generated.send_robust(cls, user=user, batch=batch), robust=True
        )
        return Issued(plain_codes, batch, entries[0])

    @classmethod
    def _retire_active(cls, user: User, now: datetime) -> int:
        retired = cls.objects.filter(user=user, status=cls.Status.ACTIVE).update(
            status=cls.Status.SUPERSEDED, sealed="", retired_at=now, modified_at=now
        )
        if retired:
            RecoveryCode.objects.filter(
                batch__in=cls.objects.filter(user=user).values("pk"),
                status=RecoveryCode.Status.ACTIVE,
            ).update(status=RecoveryCode.Status.INVALIDATED, retired_at=now)
        return retired

    @property
    def has_emailed(self) -> bool:
        """Whether the codes were e-mailed, or are about to be."""
        return self.shown_email_state in {"queued", "sent"}

    @property
    def shown_email_state(self) -> str:
        """none, queued, sent or failed, as of now."""
        return shown_email_state(self.email_state, self.email_queued_at)

    def codes_left(self) -> int:
        """How many codes of this batch can still be used."""
        return RecoveryCode.objects.usable().filter(batch=self).count()

    def codes_expired(self) -> int:
        """How many codes of this batch nobody had used when it expired, purged ones included."""
        # In one statement: a purge may be moving them from one of the numbers to the other.
        ended = Q(codes__status=RecoveryCode.Status.ACTIVE, codes__expires_at__lte=F("expires_at"))
        unused = Count("codes", filter=ended)
        batches = RecoveryCodeBatch.objects.filter(pk=self.pk).annotate(unused=unused)
        return sum(batches.values_list("unused", "purged_expired").get())

    # Each of these is one conditional UPDATE, and True for exactly one of any number of callers.

    def mark_viewed(self) -> bool:
        """Claim the one view of the codes (R-74)."""
        return self._change(has_viewed=False, to={"has_viewed": True})

    def mark_downloaded(self) -> bool:
        """Claim the one download of the codes (R-76)."""
        return self._change(has_downloaded=False, to={"has_downloaded": True})

    def queue_email(self) -> bool:
        """Claim the one e-mail of the codes; again after one that failed or never left (R-81)."""
        now = timezone.now()
        queued = {"email_state": self.EmailState.QUEUED, "email_queued_at": now}
        can_repeat = {"email_state__in": [self.EmailState.NONE, self.EmailState.FAILED]}
        return self._change(to=queued, **can_repeat) or self._change(
            to=queued, email_queued_at__lte=now - timedelta(seconds=conf.STASH_TTL), **IN_THE_QUEUE
        )

    def start_email(self) -> bool:
        """Claim the sending of a queued e-mail, so that a task that runs twice sends once.

        Also of a batch that has ended meanwhile: somebody has to say that it was not sent.
        """
        sending = {"email_state": self.EmailState.SENDING}
        return self._change(email_state=self.EmailState.QUEUED, to=sending, status=None)

    def close_email(self, state: EmailState) -> None:
        """Say how the e-mail ended."""
        self._change(email_state=self.EmailState.SENDING, to={"email_state": state}, status=None)

    def invalidate_codes(self) -> int | None:
        """Take the batch out of service; how many codes ended, None if nothing was left to end.

        Also codes that stayed behind in a batch which is not active.
        """
        now = timezone.now()
        status = RecoveryCode.Status
        end = {"status": self.Status.INVALIDATED, "sealed": "", "retired_at": now}
        has_ended = self._change(to=end)
        ended = RecoveryCode.objects.filter(batch=self, status=status.ACTIVE).update(
            status=status.INVALIDATED, retired_at=now
        )
        return ended if has_ended or ended else None

    def delete_codes(self) -> int | None:
        """Take the whole batch out of the owner's list; how many codes ended, None if not active.

        Used codes stay what they are, so that one that comes back is known as used.
        """
        now = timezone.now()
        end = {"status": self.Status.DELETED, "sealed": "", "retired_at": now}
        if not self._change(to=end):
            return None
        status = RecoveryCode.Status
        mine = RecoveryCode.objects.filter(batch=self)
        ended = mine.filter(status=status.ACTIVE).update(status=status.DELETED, retired_at=now)
        mine.filter(status=status.INVALIDATED).update(status=status.DELETED)
        return ended

    def _change(self, *, to: dict[str, Any], **condition: Any) -> bool:
        condition.setdefault("status", self.Status.ACTIVE)
        where = {name: value for name, value in condition.items() if value is not None}
        changed = RecoveryCodeBatch.objects.filter(pk=self.pk, **where).update(
            modified_at=timezone.now(), **to
        )
        for name, value in to.items() if changed else ():
            setattr(self, name, value)
        return changed == 1


def shown_email_state(state: str, queued_at: datetime | None) -> str:
    """The state of an e-mail for people: none, queued, sent or failed.

    One that is still queued after STASH_TTL has failed: what it would deliver has expired.
    """
    if state not in IN_THE_QUEUE["email_state__in"]:
        return state
    is_over = queued_at is None or queued_at <= timezone.now() - timedelta(seconds=conf.STASH_TTL)
    return "failed" if is_over else "queued"


def _number_of(codes_of_batch: RecoveryCodeQuerySet) -> Coalesce:
    counted = codes_of_batch.order_by().values("batch").annotate(number=Count("pk"))
    return Coalesce(Subquery(counted.values("number")), 0)


def lock(user: AbstractBaseUser) -> None:
    """Hold the user's row until the transaction ends: two tabs must not leave two active batches."""
    # SQLite has one writer anyway, and reading first would only make its transaction fail.
    features = connection.features
    if features.has_select_for_update:
        # A full lock would also hold up every new row that points to the user: a deadlock with
        # whoever has locked one of the codes and records that.
        no_key = features.has_select_for_no_key_update
        users = get_user_model()._base_manager.select_for_update(no_key=no_key)
        users.values("pk").get(pk=user.pk)


def _generated_entries(
    batch: RecoveryCodeBatch, replaced: int, client: Client, actor: AbstractBaseUser | None
) -> list[RecoveryCodeAudit]:
    user = batch.user
    made = Event.BATCH_REGENERATED if replaced else Event.BATCH_GENERATED
    events = [Event.BATCH_EMERGENCY if batch.is_emergency else made]
    if replaced:
        events.append(Event.BATCH_SUPERSEDED)
    return [
        audit.entry(
            event,
            client=client,
            user=user,
            actor=actor,
            email=email_of(user),
            batch=batch.pk if event != Event.BATCH_SUPERSEDED else None,
            data={"number_of_codes": batch.number_issued, "is_replacement": bool(replaced)},
        )
        for event in events
    ]


def _bounded(name: str, value: int | None, maximum: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
        raise ValueError(f"{name} must be None or a whole number from 1 to {maximum}.")
    return value
