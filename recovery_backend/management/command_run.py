"""A purge that a command runs: on record before its first row goes, and however it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

from django.core.management.base import OutputWrapper
from django.utils import timezone
from django.utils.translation import gettext as _

from recovery_backend.audit import logger
from recovery_backend.management import purge_text, stop_signals
from recovery_backend.management.progress_bar import ProgressBar
from recovery_backend.models import RecoveryCodePurgeHistory
from recovery_backend.purge import Purged
from recovery_backend.runs.progress import Tally, counts_of
from recovery_backend.schedules import RunKind
from recovery_backend.transactions import in_transaction

# What the process exits with when another run would find more to do.
HAS_MORE = 3


def conduct(
    kind: RunKind, retention_days: int, purge: Callable[..., Purged], terminal: OutputWrapper
) -> Purged:
    """Purge, with a bar where somebody waits; what was removed.

    Who is asked to stop says what was done, and exits.
    """
    bar = ProgressBar(terminal, lambda: purge(is_dry_run=True).rows)
    done = Purged()
    with stop_signals.waiting() as raise_if_asked:
        run = _begin(kind, retention_days)

        def note(so_far: Purged) -> None:
            nonlocal done
            done = so_far
            run.note(counts_of(done))
            bar.show(done.rows)
            raise_if_asked()

        try:
            done = purge(on_page=note)
        except BaseException as error:
            bar.clear()
            _break_off(run, error)
            if isinstance(error, KeyboardInterrupt):
                _leave(done, error, terminal)
            raise
        bar.clear()
        _finish(run, done)
    return done


def _begin(kind: RunKind, retention_days: int) -> Tally:
    trigger = RecoveryCodePurgeHistory.Trigger.COMMAND
    run = Tally(
        RecoveryCodePurgeHistory(kind=kind, trigger=trigger, retention_days=retention_days)
    )
    in_transaction(run.record.save)
    return run


def _finish(run: Tally, done: Purged) -> None:
    run.record.has_more, run.record.finished_at = done.has_more, timezone.now()
    in_transaction(run.record.save)


def _break_off(run: Tally, error: BaseException) -> None:
    run.record.error, run.record.finished_at = type(error).__name__[:100], timezone.now()
    try:
        in_transaction(run.record.save)
    except Exception as second:  # the database is gone, most likely; the first error says more
        logger.error("run not closed: %s", type(second).__name__)


def _leave(done: Purged, error: KeyboardInterrupt, terminal: OutputWrapper) -> None:
    said = _("Interrupted. Removed until then, for good: %(rows)s. Run it again for the rest.")
    terminal.write(said % {"rows": purge_text.in_words(done)})
    sys.exit(stop_signals.exit_code(error))
