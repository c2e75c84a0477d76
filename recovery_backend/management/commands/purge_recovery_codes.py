from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from recovery_backend.conf import conf
from recovery_backend.management import command_run, purge_text
from recovery_backend.purge import OutOfBounds, Purged, limits, purge_codes
from recovery_backend.schedules import RunKind

POLICY = ("batch_size", "max_seconds", "delete_empty_batches")


class Command(BaseCommand):
    help = (
        "Remove codes that were used, invalidated, deleted or expired longer ago than the "
        "retention. Exits with 3 when it stopped before the end, so that it can be run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Count, and remove nothing.")
        parser.add_argument(
            "--retention-days",
            type=int,
            metavar="N",
            help="Days for which ended codes are kept, instead of PURGE_DELETE_RETENTION_DAYS.",
        )
        parser.add_argument(
            "--batch-size",
            type=int,
            metavar="N",
            help="Rows removed in one transaction, instead of BATCH_DELETE_SIZE.",
        )
        parser.add_argument(
            "--delete-empty-batches",
            action="store_true",
            help="Also remove batches of which no code is left.",
        )
        parser.add_argument(
            "--max-seconds", type=float, metavar="N", help="Begin no new page after that time."
        )
        parser.add_argument("--json", action="store_true", help="Answer with one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        policy = {name: options[name] for name in POLICY}
        is_dry_run = options["dry_run"]
        days = options["retention_days"]
        days = conf.PURGE_DELETE_RETENTION_DAYS if days is None else days
        try:
            limits.check(days, batch_size=policy["batch_size"], max_seconds=policy["max_seconds"])
        except OutOfBounds as error:
            raise CommandError(str(error)) from error
        purge = partial(purge_codes, days, **policy)
        if is_dry_run:
            done = purge(is_dry_run=True)
        else:
            done = command_run.conduct(RunKind.CODES, days, purge, self.stderr)
        if options["json"]:
            self.stdout.write(purge_text.as_json(done, days, is_dry_run=is_dry_run))
        else:
            self.stdout.write("\n".join(lines(done, is_dry_run=is_dry_run)))
        if done.has_more and not is_dry_run:
            sys.exit(command_run.HAS_MORE)


def lines(done: Purged, *, is_dry_run: bool) -> Iterator[str]:
    """The answer for people."""
    said = _("Would be removed: %(rows)s.") if is_dry_run else _("Removed: %(rows)s.")
    yield said % {"rows": purge_text.in_words(done)}
    yield from purge_text.rest(done)
