from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recovery_backend.conf import conf
from recovery_backend.management import stop_signals
from recovery_backend.management.progress_bar import ProgressBar
from recovery_backend_allauth import takeover
from recovery_backend_allauth.takeover import Taken

# What the process exits with when rows were left that could not be read.
HAS_UNREADABLE = 1


class Command(BaseCommand):
    help = (
        "Take over the recovery codes that allauth keeps, so that printed codes go on working as "
        "the second step, used ones stay used, and no seed is left. Can be stopped and run again. "
        "Exits with 1 when there are rows that cannot be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Count, and change nothing.")
        parser.add_argument(
            "--batch-size",
            type=int,
            default=takeover.PAGE,
            metavar="N",
            help="Rows read at a time; each is taken over in a transaction of its own.",
        )
        parser.add_argument("--json", action="store_true", help="Answer with one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        _check(options["batch_size"])
        is_dry_run = options["dry_run"]
        if is_dry_run:
            taken = takeover.run(takeover.look, page_size=options["batch_size"])
        else:
            taken = self._take(options["batch_size"])
        if options["json"]:
            self.stdout.write(json.dumps({**asdict(taken), "is_dry_run": is_dry_run}))
        else:
            self.stdout.write("\n".join(lines(taken, is_dry_run=is_dry_run)))
        if taken.unreadable:
            sys.exit(HAS_UNREADABLE)

    def _take(self, page_size: int) -> Taken:
        bar = ProgressBar(self.stderr, takeover.number_of_rows)
        taken = Taken()
        with stop_signals.waiting() as raise_if_asked:

            def note(so_far: Taken) -> None:
                nonlocal taken
                taken = so_far
                bar.show(taken.rows)
                raise_if_asked()

            try:
                taken = takeover.run(takeover.take, page_size=page_size, on_row=note)
            except KeyboardInterrupt as error:
                bar.clear()
                self._leave(taken, error)
            except BaseException:
                bar.clear()
                raise
            bar.clear()
        return taken

    def _leave(self, taken: Taken, error: KeyboardInterrupt) -> None:
        said = _("Interrupted. Until then: %(counts)s. Run it again for the rest.")
        self.stderr.write(said % {"counts": in_words(taken)})
        sys.exit(stop_signals.exit_code(error))


def _check(page_size: int) -> None:
    if page_size < 1:
        raise CommandError(_("--batch-size must be a whole number from 1."))
    if conf.LOGIN_MODE == "off":
        raise CommandError(
            _("DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE is off: no code would work anywhere.")
        )


def in_words(taken: Taken) -> str:
    """Whose codes, and how many."""
    users = ngettext("%d user", "%d users", taken.users) % taken.users
    codes = ngettext("%d unused code", "%d unused codes", taken.codes) % taken.codes
    spent = ngettext("%d used code", "%d used codes", taken.spent) % taken.spent
    return f"{users}, {codes}, {spent}"


def lines(taken: Taken, *, is_dry_run: bool) -> Iterator[str]:
    """The answer for people."""
    said = _("Would be taken over: %(counts)s.") if is_dry_run else _("Taken over: %(counts)s.")
    yield said % {"counts": in_words(taken)}
    notes = [
        (taken.skipped, _("Skipped, because they are ours already: %d.")),
        (taken.without_factor, _("Users without TOTP or a passkey, who are asked for none: %d.")),
        (taken.unreadable, _("Left as they are, because they cannot be read: %d. See the log.")),
    ]
    yield from (text % number for number, text in notes if number)
