"""Messages in time: codes that end soon, that are few, or that nobody has looked at for a year."""

from __future__ import annotations

import smtplib
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial, reduce
from itertools import chain
from operator import or_
from typing import Any, Literal, NoReturn

from django.conf import settings
from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, Max, Q
from django.utils import timezone
from django.utils.translation import override

from recovery_backend import audit, emails, signals
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, RecoveryCodeAudit, logger
from recovery_backend.conf import conf
from recovery_backend.emails import Notice
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeSetup
from recovery_backend.schedules import RecoveryCodeReminderScheduler
from recovery_backend.transactions import in_transaction

# Looked at in less than half a second; shorter pages take nearly as long.
PAGE = 5000
DAY = timedelta(days=1)
YEAR = timedelta(days=365)
# With these no address is at fault: the next message would fail, too.
NO_SERVER = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    smtplib.SMTPConnectError,
    smtplib.SMTPAuthenticationError,
)
NO_SERVER_IN_A_ROW = 3

Step = Literal["sent", "failed", "no_server", "skipped", "expired", "page"]


@dataclass(frozen=True, slots=True)
class Reminded:
    """What a run did. `stopped` says why there is more to do."""

    sent: int = 0
    failed: int = 0
    expired: int = 0
    stopped: Literal["", "time"] = ""


@dataclass(frozen=True, slots=True)
class Reminder:
    """A kind of reminder: which batches are due for it, and the mark that claims one of them."""

    notice: Notice
    what: Literal["expiring", "few_left", "still_there"]
    due: Q
    field: str
    mark: object
    fits: Callable[[int, int], bool]
    """Whether it is due when so many codes are left of so many."""

    def claim(self, batch: RecoveryCodeBatch) -> bool:
        """Mark the batch if it is still due. True for exactly one of any number of callers."""
        due = RecoveryCodeBatch.objects.current().filter(self.due, pk=batch.pk)
        return in_transaction(lambda: due.update(**{self.field: self.mark})) == 1

    def release(self, batch: RecoveryCodeBatch) -> None:
        """Take the mark back, so that a later run tries again."""
        marked = RecoveryCodeBatch.objects.filter(pk=batch.pk, **{self.field: self.mark})
        in_transaction(lambda: marked.update(**{self.field: getattr(batch, self.field)}))


@dataclass(slots=True)
class Silence:
    """Of mail servers: how many messages in a row none took, and from where on."""

    row: RecoveryCodeReminderScheduler
    messages: int = 0
    place: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.place = self.row.searched_to

    def note(self, step: Step, *, may_last: bool) -> None:
        """Raises `ConnectionError` once it has lasted too long."""
        if step in {"sent", "failed", "no_server"}:
            self.messages = self.messages + 1 if step == "no_server" else 0
        if not self.messages:
            self.place = self.row.searched_to
        elif self.messages == NO_SERVER_IN_A_ROW or not may_last:
            self._give_up()

    def _give_up(self) -> NoReturn:
        # Tried again from there, but only once: it may be these addresses after all.
        if not self.row.failures:
            in_transaction(partial(self.row.keep_place, self.place))
        raise ConnectionError("No mail server answers.")


def send_due(
    row: RecoveryCodeReminderScheduler,
    *,
    max_seconds: float | None = None,
    on_page: Callable[[int], None] | None = None,
) -> Reminded:
    """Remind the owners of all batches that are due, and record the batches that expired.

    Once each, whoever calls it how often; the next call goes on where this one stopped. `on_page`
    is called with the number of messages sent so far, after each page and each batch of which
    something was done; what it raises ends the run. Raises `ConnectionError` when no mail server
    answers.
    """
    end = None if max_seconds is None else time.monotonic() + max_seconds
    done: Counter[Step] = Counter()
    silence = Silence(row)
    for step in _steps(row):
        done[step] += 1
        if on_page:
            on_page(done["sent"])
        is_over = end is not None and time.monotonic() >= end
        silence.note(step, may_last=not is_over)
        if is_over:
            return _result(done, "time")
    return _result(done, "")


def _result(done: Counter[Step], stopped: Literal["", "time"]) -> Reminded:
    return Reminded(done["sent"], done["failed"] + done["no_server"], done["expired"], stopped)


def _steps(row: RecoveryCodeReminderScheduler) -> Iterator[Step]:
    """The work, a step at a time: whoever reads on has the next one done."""
    reminders = _reminders(row, timezone.now()) if conf.NOTIFY else []
    return chain(_expired(), _told(row, reminders))


def _expired() -> Iterator[Step]:
    ended = RecoveryCodeBatch.objects.newly_expired().order_by("pk").values_list("pk", flat=True)
    page = list(ended[:PAGE])
    while page:
        for pk in page:
            yield "expired" if in_transaction(partial(_record_end, pk)) else "skipped"
        page = list(ended.filter(pk__gt=page[-1])[:PAGE])


def _record_end(pk: int) -> bool:
    ended = RecoveryCodeBatch.objects.newly_expired().filter(pk=pk)
    if not ended.update(expiry_note=RecoveryCodeBatch.ExpiryNote.EXPIRED):
        return False
    batch = RecoveryCodeBatch.objects.select_related("user").get(pk=pk)
    if unused := batch.codes_expired():
        audit.record(_entry(Event.CODE_EXPIRED, batch, {"number_of_codes": unused}))
    return True


def _reminders(row: RecoveryCodeReminderScheduler, now: datetime) -> list[Reminder]:
    """What this schedule reminds of, most urgent first."""
    reminders = []
    if row.days_before_expiry:
        reminders.append(_expiring(now + row.days_before_expiry * DAY))
    if row.reminds_of_few_left:
        reminders.append(_few_left(now))
    if row.asks_yearly:
        reminders.append(_still_there(now))
    return reminders


def _expiring(until: datetime) -> Reminder:
    note = RecoveryCodeBatch.ExpiryNote
    return Reminder(
        Notice.CODES_EXPIRING,
        "expiring",
        due=Q(expiry_note=note.NONE, expires_at__lte=until),
        field="expiry_note",
        mark=note.REMINDED,
        fits=lambda left, issued: left > 0,
    )


def _few_left(now: datetime) -> Reminder:
    return Reminder(
        Notice.FEW_LEFT,
        "few_left",
        due=Q(few_left_told_at__isnull=True),
        field="few_left_told_at",
        mark=now,
        # Whoever made three codes and used none knows how many there are.
        fits=lambda left, issued: left <= conf.LOW_CODES_WARNING and left < issued,
    )


def _still_there(now: datetime) -> Reminder:
    before = now - YEAR
    return Reminder(
        Notice.STILL_THERE,
        "still_there",
        due=Q(asked_at__isnull=True, issued_at__lt=before) | Q(asked_at__lt=before),
        field="asked_at",
        mark=now,
        fits=lambda left, issued: left > 0,
    )


def _told(row: RecoveryCodeReminderScheduler, reminders: list[Reminder]) -> Iterator[Step]:
    """One search through all batches, in pieces: the place is kept with whatever was done."""
    if not reminders:
        return
    for after, last in _pages(row.searched_to or 0):
        for pk, reminder in _most_urgent(after, last, reminders):
            step = _tell(pk, reminder)
            in_transaction(partial(row.keep_place, pk))
            yield step
        in_transaction(partial(row.keep_place, last))
        yield "page"
    in_transaction(partial(row.keep_place, None))


def _pages(after: int) -> Iterator[tuple[int, int]]:
    """Ranges of primary keys: behind the first one, up to the second one."""
    # Of all batches: with a condition, databases sort all that meet it, for every page.
    batches = RecoveryCodeBatch.objects.order_by("pk")
    while last := batches.filter(pk__gt=after)[:PAGE].aggregate(last=Max("pk"))["last"]:
        yield after, last
        after = last


def _most_urgent(
    after: int, last: int, reminders: list[Reminder]
) -> Iterator[tuple[int, Reminder]]:
    """The batches of a page that are due, and for what."""
    is_due = [ExpressionWrapper(reminder.due, BooleanField()) for reminder in reminders]
    batches = RecoveryCodeBatch.objects.current().filter(
        reduce(or_, (reminder.due for reminder in reminders)),
        pk__gt=after,
        pk__lte=last,
        is_emergency=False,
    )
    left = RecoveryCode.objects.number_usable(after, last)
    for pk, issued, *dues in batches.order_by("pk").values_list("pk", "number_issued", *is_due):
        for reminder, due in zip(reminders, dues, strict=True):
            if due and reminder.fits(left.get(pk, 0), issued):
                yield pk, reminder
                break


def _tell(pk: int, reminder: Reminder) -> Step:
    # The page was read some time ago: both the owner's address and the codes may be others now.
    batch = RecoveryCodeBatch.objects.select_related("user").filter(pk=pk).first()
    if batch is None or not _can_be_told(batch):
        return "skipped"
    if not reminder.fits(batch.codes_left(), batch.number_issued) or not reminder.claim(batch):
        return "skipped"
    return _deliver(batch, reminder)


def _can_be_told(batch: RecoveryCodeBatch) -> bool:
    return getattr(batch.user, "is_active", True) and bool(emails.address_of(batch.user))


def _deliver(batch: RecoveryCodeBatch, reminder: Reminder) -> Step:
    about = _about(batch, reminder)
    entry = partial(_entry, Event.CODE_REMINDER, batch, about)
    try:
        with override(settings.LANGUAGE_CODE):
            emails.send(reminder.notice, entry(), **_details(batch))
    except Exception as error:  # mail libraries raise what they like
        reminder.release(batch)
        logger.warning("reminder not sent batch=%s: %s", batch.pk, type(error).__name__)
        return "no_server" if isinstance(error, NO_SERVER) else "failed"
    in_transaction(lambda: _record(reminder, entry()))
    return "sent"


def _record(reminder: Reminder, row: RecoveryCodeAudit) -> None:
    audit.record(row)
    about = {"user": row.user, "notice": reminder.notice, "audit": row}
    send = partial(signals.owner_notified.send_robust, RecoveryCode, **about)
    transaction.on_commit(send, robust=True)


def _about(batch: RecoveryCodeBatch, reminder: Reminder) -> dict[str, Any]:
    if reminder.what != "expiring" or batch.expires_at is None:
        return {"what": reminder.what}
    days = -((timezone.now() - batch.expires_at) // DAY)  # rounded up
    return {"what": reminder.what, "days": days}


def _details(batch: RecoveryCodeBatch) -> dict[str, Any]:
    """What only the message says."""
    passed = RecoveryCodeSetup.objects.filter(user=batch.user, verified_at__isnull=False)
    return {
        "issued_at": batch.issued_at,
        "expires_at": batch.expires_at,
        "can_test": not passed.exists(),
    }


def _entry(event: Event, batch: RecoveryCodeBatch, data: dict[str, Any]) -> RecoveryCodeAudit:
    user = batch.user
    return audit.entry(event, user=user, email=email_of(user), batch=batch.pk, data=data)
