from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recovery_backend import purge, seals, statistics
from recovery_backend.conf import conf
from recovery_backend.management import command_run, event_file, purge_text, report_text
from recovery_backend.purge import limits
from recovery_backend.schedules import RunKind

STANDARD_OUTPUT = "-"
NEEDS = {
    "format": "export",
    "head": "verify",
    **dict.fromkeys(["force", "retention_days", "batch_size", "max_seconds", "json"], "cleanup"),
}
LIMITS = ("batch_size", "max_seconds")


class Command(BaseCommand):
    help = "Report on the audit, write its events into a file, remove old ones, check its seals."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days",
            type=int,
            default=30,
            help="How many days to report on, or to export, today included. Default: 30.",
        )
        parser.add_argument(
            "--export",
            metavar="FILE",
            help="Write the events themselves; - is the standard output. An existing file is "
            "replaced once the new one is complete.",
        )
        parser.add_argument(
            "--format",
            choices=sorted(event_file.FORMATS),
            help="The format of the export. Default: what the file's name ends with.",
        )
        parser.add_argument(
            "--cleanup",
            action="store_true",
            help="Say how many events are older than the retention.",
        )
        parser.add_argument("--force", action="store_true", help="With --cleanup: remove them.")
        parser.add_argument(
            "--retention-days",
            type=int,
            metavar="N",
            help="With --cleanup: another retention than AUDIT_RETENTION_DAYS.",
        )
        parser.add_argument(
            "--batch-size",
            type=int,
            metavar="N",
            help="With --cleanup: rows removed in one transaction, instead of BATCH_DELETE_SIZE.",
        )
        parser.add_argument(
            "--max-seconds",
            type=float,
            metavar="N",
            help="With --cleanup: begin no new page after that time.",
        )
        parser.add_argument(
            "--json", action="store_true", help="With --cleanup: answer with one JSON object."
        )
        parser.add_argument(
            "--verify",
            action="store_true",
            help="Compare the audit with its seals (AUDIT_CHAIN). Exit code 1: altered.",
        )
        parser.add_argument(
            "--head",
            metavar="NUMBER:DIGEST",
            help="With --verify: a seal noted before, which the chain has to contain.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        check(options)
        # Nothing is removed unless what was asked for before it has worked.
        if options["verify"]:
            self.verify(options["head"] or "")
        if options["export"]:
            self.export(options["export"], options["format"], options["days"])
        if options["cleanup"]:
            self.clean_up(options)
        if not any(options[name] for name in ("verify", "export", "cleanup")):
            self.report(options["days"])

    def report(self, days: int) -> None:
        report = statistics.report(days)
        width = shutil.get_terminal_size().columns
        for line in report_text.lines(report, width):
            self.stdout.write(line)

    def export(self, target: str, file_format: str | None, days: int) -> None:
        period = statistics.Period.of_days(days)
        file_format = file_format or format_of(target)
        write = event_file.FORMATS[file_format]
        if target == STANDARD_OUTPUT:
            self.stdout.ending = ""
            write(self.stdout, period)
            return
        path = Path(target)
        if path.is_dir():
            raise CommandError(f"{target} is a folder: name a file.")
        try:
            with event_file.replaced(path, event_file.ENCODINGS[file_format]) as stream:
                number = write(stream, period)
        except OSError as error:
            raise CommandError(f"{target} cannot be written: {error.strerror}.") from error
        said = ngettext(
            "%(number)d event written to %(file)s.",
            "%(number)d events written to %(file)s.",
            number,
        )
        self.stdout.write(said % {"number": number, "file": target})

    def clean_up(self, options: Mapping[str, Any]) -> None:
        days, is_forced = options["retention_days"], options["force"]
        days = conf.AUDIT_RETENTION_DAYS if days is None else days
        remove = partial(purge.purge_audit, days, **{name: options[name] for name in LIMITS})
        if is_forced:
            done = command_run.conduct(RunKind.AUDIT, days, remove, self.stderr)
        else:
            done = remove(is_dry_run=True)
        if options["json"]:
            self.stdout.write(purge_text.as_json(done, days, is_dry_run=not is_forced))
        else:
            self.stdout.write("\n".join(clean_up_lines(done, days, is_forced=is_forced)))
        if done.has_more and is_forced:
            sys.exit(command_run.HAS_MORE)

    def verify(self, head: str) -> None:
        try:
            verdict = seals.verify(expected_head=head)
        except ValueError as error:
            raise CommandError(str(error)) from error
        for line in verdict_lines(verdict):
            self.stdout.write(line)
        if not verdict.is_sound:
            problems = verdict.number_of_problems
            said = ngettext("%d problem was found.", "%d problems were found.", problems)
            raise CommandError(said % problems)
        self.stdout.write(_("No problem was found."))


def check(options: Mapping[str, Any]) -> None:
    """Raise `CommandError` for options that make no sense, before anything is done."""
    if not 1 <= options["days"] <= statistics.MAX_DAYS:
        raise CommandError(f"--days must be from 1 to {statistics.MAX_DAYS}.")
    for name, whole in NEEDS.items():
        is_given = options[name] is not None and options[name] is not False
        if is_given and not options[whole]:
            raise CommandError(f"--{name.replace('_', '-')} is of use with --{whole} only.")
    if options["export"] == STANDARD_OUTPUT and (options["cleanup"] or options["verify"]):
        raise CommandError("--export - goes alone: it prints nothing but the events.")
    if options["json"] and (options["export"] is not None or options["verify"]):
        raise CommandError("--json goes alone with --cleanup: it prints nothing but its answer.")
    if options["export"] is not None and not options["format"]:
        format_of(options["export"])
    try:
        limits.check(options["retention_days"], **{name: options[name] for name in LIMITS})
    except purge.OutOfBounds as error:
        raise CommandError(str(error)) from error


def format_of(target: str) -> str:
    """What the name of a file says that it should be."""
    ending = Path(target).suffix.removeprefix(".").lower()
    if ending not in event_file.FORMATS:
        raise CommandError(f"{target!r} ends with neither .csv nor .json: say --format.")
    return ending


def clean_up_lines(done: purge.Purged, days: int, *, is_forced: bool) -> Iterator[str]:
    """What went, or would go, and how to go on."""
    yield removed_text(done, days, is_forced=is_forced)
    yield from purge_text.rest(done)
    if not is_forced:
        yield _("Nothing was removed. Run again with --force to remove them.")


def removed_text(done: purge.Purged, days: int, *, is_forced: bool) -> str:
    """How many rows went, or would go."""
    events, others = done.audit_rows, done.other_rows
    if is_forced:
        first = ngettext("%d event removed", "%d events removed", events)
    else:
        first = ngettext("%d event would be removed", "%d events would be removed", events)
    second = ngettext("%d record of e-mails or runs", "%d records of e-mails or runs", others)
    older = ngettext("older than %d day", "older than %d days", days)
    return f"{first % events}, {second % others}; {older % days}."


def verdict_lines(verdict: seals.Verdict) -> Iterator[str]:
    """What was compared, what is wrong, and the head to note."""
    if not verdict.seals:
        yield _("There are no seals. AUDIT_CHAIN has scheduled runs make them.")
    rows = ngettext(
        "%d event compared with its seal.", "%d events compared with their seals.", verdict.rows
    )
    yield rows % verdict.rows
    unsealed = ngettext("%d event not sealed yet.", "%d events not sealed yet.", verdict.unsealed)
    yield unsealed % verdict.unsealed
    yield ngettext("%d seal.", "%d seals.", verdict.seals) % verdict.seals
    if verdict.owners_deleted:
        deleted = ngettext(
            "%d event of a user who was deleted since.",
            "%d events of users who were deleted since.",
            verdict.owners_deleted,
        )
        yield deleted % verdict.owners_deleted
    yield from verdict.problems
    if left := verdict.number_of_problems - len(verdict.problems):
        yield ngettext("… and %d more problem.", "… and %d more problems.", left) % left
    if verdict.head:
        yield _("Head: %s") % verdict.head
