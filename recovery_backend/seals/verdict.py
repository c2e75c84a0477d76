"""Reading the audit against its chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby

from django.utils import timezone

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.conf import conf
from recovery_backend.keys import Key, keyring
from recovery_backend.seals import fingerprints, notes, receipts
from recovery_backend.seals.fingerprints import NOBODY, Fingerprint, is_other
from recovery_backend.seals.rows import RecoveryCodeAuditSeal

MAX_PROBLEMS = 100
DAY = timedelta(days=1)
# A row that was too fresh for one daily run is sealed by the next.
LATE = DAY + timedelta(hours=1)
WHAT_TO_DO = (
    "Seals were removed, or none were made. Compare with a head that was kept (--head), "
    "and have a schedule run every day."
)


@dataclass(slots=True)
class Verdict:
    """What was found. `problems` are sentences, the first hundred of `number_of_problems`."""

    rows: int = 0
    """Rows that are there and were compared with their seal."""
    seals: int = 0
    unsealed: int = 0
    """Rows after the last seal: nothing is known of these."""
    owners_deleted: int = 0
    """Rows that named a user who was deleted since. No problem."""
    number_of_problems: int = 0
    problems: list[str] = field(default_factory=list)
    head: str = ""
    """NUMBER:DIGEST of the last seal, to be kept elsewhere; "" without one."""

    @property
    def is_sound(self) -> bool:
        return not self.number_of_problems

    def count(self, sealed: dict[int, Fingerprint], present: dict[int, Fingerprint]) -> None:
        kept = [(before, present[pk]) for pk, before in sealed.items() if pk in present]
        self.rows += len(kept)
        self.owners_deleted += sum(_has_lost_its_user(before, now) for before, now in kept)

    def report(self, problem: str) -> None:
        self.number_of_problems += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def verify(*, expected_head: str = "") -> Verdict:
    """Compare every sealed row with the chain, a segment at a time.

    `expected_head` is the `head` of an earlier verdict, which the chain must still contain.
    Raises `ValueError` when it is none, and `ImproperlyConfigured` without a key.
    """
    expected = notes.parsed(expected_head) if expected_head else None
    keys = {key.id: key for key in keyring()}
    verdict = Verdict()
    last: RecoveryCodeAuditSeal | None = None
    for seal in _seals():
        broken = list(_broken_link(last, seal))
        # The first of all seals that are left also answers for rows that appear before it.
        is_open = last is None and not broken
        for problem in (*broken, *_broken_rows(verdict, seal, keys, is_open=is_open)):
            verdict.report(problem)
        verdict.seals += 1
        last = seal
    if expected and not _is_in_chain(*expected):
        verdict.report(
            f"The chain does not contain {expected_head}: seals were removed, purged, or made anew."
        )
    for problem in (*_missing_seals(), *_unsealed(verdict, last)):
        verdict.report(problem)
    verdict.head = last.head if last else ""
    return verdict


def _missing_seals() -> Iterator[str]:
    for note in notes.missing():
        yield (
            f"Row {note.row} has noted seal {note.head}, which the chain does not contain: "
            "seals were removed, or made anew."
        )


def _unsealed(verdict: Verdict, last: RecoveryCodeAuditSeal | None) -> Iterator[str]:
    after = RecoveryCodeAudit.objects.filter(pk__gt=last.last_row if last else 0)
    verdict.unsealed = after.count()
    if not conf.AUDIT_CHAIN:
        return
    late = after.filter(at__lt=timezone.now() - (LATE if last else DAY))
    pk = late.order_by("pk").values_list("pk", flat=True).first()
    if pk is not None:
        said = f"Row {pk} is older than a day and not sealed" if last else "There are no seals"
        yield f"{said}, although AUDIT_CHAIN is on. {WHAT_TO_DO}"


def _seals() -> Iterator[RecoveryCodeAuditSeal]:
    # One by one: MariaDB's client would read the whole table into memory for one cursor.
    seals = RecoveryCodeAuditSeal.objects.order_by("number")
    seal = seals.first()
    while seal is not None:
        yield seal
        seal = seals.filter(number__gt=seal.number).first()


def _broken_link(last: RecoveryCodeAuditSeal | None, seal: RecoveryCodeAuditSeal) -> Iterator[str]:
    expected = last.number + 1 if last else 1
    if seal.number != expected:
        if seal.first_row - 1 > receipts.purged().trail_through:
            yield f"{_named('Seal', expected, seal.number - 1)} removed, and not by a purge."
    elif last and (seal.previous != last.digest or seal.first_row != last.last_row + 1):
        yield f"Seal {seal.number} does not follow seal {last.number}."


def _broken_rows(
    verdict: Verdict, seal: RecoveryCodeAuditSeal, keys: dict[str, Key], *, is_open: bool
) -> Iterator[str]:
    unchecked = f"rows {seal.first_row} to {seal.last_row} cannot be checked"
    key = keys.get(seal.key_id)
    if key is None:
        yield f"Seal {seal.number} needs key {seal.key_id}, which is not configured: {unchecked}."
    elif not seal.is_genuine(keys):
        yield f"Seal {seal.number} was altered: {unchecked}."
    else:
        rows = RecoveryCodeAudit.objects.filter(pk__lte=seal.last_row).order_by("pk")
        present = fingerprints.present(
            rows if is_open else rows.filter(pk__gte=seal.first_row), key
        )
        sealed = fingerprints.read(seal.row_digests)
        verdict.count(sealed, present)
        yield from _missing(sealed, present)
        yield from _changed(sealed, present)


def _missing(sealed: dict[int, Fingerprint], present: dict[int, Fingerprint]) -> Iterator[str]:
    gone = sealed.keys() - present.keys()
    purged = receipts.purged() if gone else receipts.Extent()
    missed = {pk for pk in gone if not purged.covers(sealed[pk])}
    for is_missing, group in groupby(sealed, missed.__contains__):
        if is_missing:
            pks = list(group)
            yield f"{_named('Row', pks[0], pks[-1])} removed, and not by a purge."


def _changed(sealed: dict[int, Fingerprint], present: dict[int, Fingerprint]) -> Iterator[str]:
    holders = {before.content: pk for pk, before in sealed.items()}
    for pk, now in present.items():
        before = sealed.get(pk)
        if before is None or before.content != now.content:
            yield _difference(pk, before, holders.get(now.content))
        elif is_other(before.user, now.user):
            yield f"Row {pk} was given to another owner."
        elif is_other(before.actor, now.actor):
            yield f"Row {pk} names another person who did it."


def _difference(pk: int, before: Fingerprint | None, origin: int | None) -> str:
    if origin is not None:
        return f"Row {pk} holds what row {origin} held when it was sealed."
    return f"Row {pk} was altered." if before else f"Row {pk} was added after its time was sealed."


def _has_lost_its_user(before: Fingerprint, now: Fingerprint) -> bool:
    pairs = ((before.user, now.user), (before.actor, now.actor))
    return any(then != NOBODY and since == NOBODY for then, since in pairs)


def _named(what: str, first: int, last: int) -> str:
    return f"{what} {first} was" if first == last else f"{what}s {first} to {last} were"


def _is_in_chain(number: int, digest: str) -> bool:
    """Whether that seal is there, or one that follows it after it was purged."""
    seals = RecoveryCodeAuditSeal.objects
    held = seals.filter(number=number).values_list("digest", flat=True).first()
    return digest in (
        held,
        seals.filter(number=number + 1).values_list("previous", flat=True).first(),
    )
