"""One run of one schedule: claimed, done in pieces, closed."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import Literal

from django.utils import timezone

from recovery_backend import posture, seals
from recovery_backend.audit import logger
from recovery_backend.conf import conf
from recovery_backend.runs import closing
from recovery_backend.runs.progress import LeaseLost, Progress, after_lease, progress_of
from recovery_backend.runs.work import WORK
from recovery_backend.schedules import SCHEDULERS, RunKind, Scheduled, queue

MOST_FRAMES = 12

Outcome = Literal["refused", "not due", "busy", "stopped", "goes on", "done", "failed"]


def run(kind: RunKind, pk: object) -> Outcome:
    """Run one schedule, and say how that ended.

    Raises nothing that a queue would repeat; what a queue raises to end it passes through.
    """
    try:
        outcome = _run(kind, pk)
    except Exception as error:  # the database, mostly; the lease ends, and the queue calls again
        logger.error("run lost kind=%s: %s", kind, type(error).__name__)
        return "failed"
    if outcome in {"goes on", "done", "failed"}:
        _look_after()
    return outcome


def _run(kind: RunKind, pk: object) -> Outcome:
    row = _row(kind, pk)
    if row is None or not row.is_enabled:
        logger.warning("run refused kind=%s schedule=%s", kind, row.pk if row else "unknown")
        return "refused"
    if not row.take_lease():
        return _put_off(row)
    # What the lease was taken for may have been edited since it was read.
    held = type(row)._default_manager.filter(lease_token=row.lease_token)
    row.refresh_from_db(from_queryset=held.select_related("last_run"))
    progress = progress_of(row)
    try:
        progress.open()
        return _conduct(progress)
    except LeaseLost:
        closing.stop(progress)
        return "stopped"


def _row(kind: RunKind, pk: object) -> Scheduled | None:
    """What a task may run: an existing row of its kind (R-107)."""
    if isinstance(pk, bool) or not isinstance(pk, int) or not 0 < pk < 2**63:
        return None
    return SCHEDULERS[kind]._default_manager.filter(pk=pk).first()


def _put_off(row: Scheduled) -> Outcome:
    """Have the queue come back when that is of use: the lease ends, or the next run is due."""
    row.refresh_from_db()
    if row.lease_until is not None and row.lease_until > timezone.now():
        queue.call_again(row, after_lease(row))
        return "busy"
    queue.sync(row)
    return "not due" if row.is_enabled else "refused"


def _conduct(progress: Progress) -> Outcome:
    try:
        stopped = WORK[progress.row.kind](progress)
        # A piece that did nothing in all its time would go on for ever.
        if stopped == "time" and progress.has_done_something:
            closing.go_on(progress)
            return "goes on"
        next_run = closing.finish(progress, has_more=stopped != "")
    except LeaseLost:
        raise
    except Exception as error:  # whatever it is: recorded, reported, tried again
        _log_place(progress, error)
        closing.fail(progress, type(error).__name__)
        return "failed"
    except BaseException:
        _fail_quietly(progress)
        raise
    closing.tell(progress, next_run)
    return "done"


def _log_place(progress: Progress, error: Exception) -> None:
    # Where it came from, never what it says: that may quote a row.
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    places = " > ".join(f"{PurePath(it.filename).name}:{it.lineno}" for it in frames)
    row, name = progress.row, type(error).__name__
    logger.error("run failed kind=%s schedule=%s: %s at %s", row.kind, row.pk, name, places)


def _fail_quietly(progress: Progress) -> None:
    """Record that the queue ends this process; that it can do so matters more."""
    try:
        closing.fail(progress, "timeout")
    except Exception as error:  # a connection that was interrupted, mostly; the lease ends
        logger.error("run not closed schedule=%s: %s", progress.row.pk, type(error).__name__)


def _look_after() -> None:
    """What is done along with every run, and harms none."""
    chores: list[Callable[[], object]] = [posture.look]
    if conf.AUDIT_CHAIN:
        chores.append(seals.seal)
    for chore in chores:
        try:
            chore()
        except Exception as error:  # whatever it is
            logger.error("%s failed: %s", chore.__module__, type(error).__name__)
