from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.apps import apps
from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recovery_backend import accounts, imports
from recovery_backend.conf import conf
from recovery_backend.imports import Moved, Source
from recovery_backend.keys import write_key
from recovery_backend.management import stop_signals
from recovery_backend.management.progress_bar import ProgressBar

# What the process exits with when rows were left that could not be read.
HAS_UNREADABLE = 1


class Command(BaseCommand):
    help = (
        "Move in the recovery codes that users got from another package, so that printed codes go "
        "on working and used ones stay used. They leave the other package's table. Can be stopped "
        "and run again. Exits with 1 when there are rows that cannot be read."
    )
    # Ours are among these; a package that is about to go need not pass its own.
    requires_system_checks = [Tags.security]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from",
            dest="source",
            choices=sorted(imports.APPS),
            required=True,
            help="The package that made the codes. It must still be in INSTALLED_APPS.",
        )
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        source, is_dry_run = _source(options["source"]), options["dry_run"]
        moved = imports.run(source, is_dry_run=True) if is_dry_run else self._take(source)
        if options["json"]:
            self.stdout.write(json.dumps({**asdict(moved), "is_dry_run": is_dry_run}))
        else:
            self.stdout.write("\n".join(lines(moved, is_dry_run=is_dry_run)))
        if moved.unreadable:
            sys.exit(HAS_UNREADABLE)

    def _take(self, source: Source) -> Moved:
        bar = ProgressBar(self.stderr, source.number_of_owners)
        moved = Moved()
        with stop_signals.waiting() as raise_if_asked:

            def note(so_far: Moved) -> None:
                nonlocal moved
                moved = so_far
                bar.show(moved.seen)
                raise_if_asked()

            try:
                moved = imports.run(source, on_user=note)
            except BaseException as error:
                bar.clear()
                if isinstance(error, KeyboardInterrupt):
                    self._leave(moved, error)
                raise
            bar.clear()
        return moved

    def _leave(self, moved: Moved, error: KeyboardInterrupt) -> None:
        said = _("Interrupted. Until then: %(counts)s. Run it again for the rest.")
        self.stderr.write(said % {"counts": in_words(moved)})
        sys.exit(stop_signals.exit_code(error))


def add_options(parser: ArgumentParser) -> None:
    """The options of every source."""
    parser.add_argument("--dry-run", action="store_true", help="Count, and change nothing.")
    parser.add_argument("--json", action="store_true", help="Answer with one JSON object.")


def _source(name: str) -> Source:
    """The source of that name, when everything that its codes need is there."""
    write_key()
    if conf.LOGIN_MODE == "off":
        raise CommandError(
            _("DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE is off: no code would work anywhere.")
        )
    if not apps.is_installed(imports.APPS[name]):
        raise CommandError(
            _('--from %(name)s needs "%(app)s" in INSTALLED_APPS%(how)s.')
            % {"name": name, "app": imports.APPS[name], "how": _how_to_install(name)}
        )
    if name == "django-auth-recovery-codes" and not conf.IMPORTED_KEY:
        raise CommandError(
            _(
                "Set DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY to what DJANGO_AUTH_RECOVERY_KEY was "
                "when these codes were made: without it none of them would work."
            )
        )
    return imports.source_of(name)


def _how_to_install(name: str) -> str:
    return ' (pip install "django-recovery-backend[allauth]")' if name == "allauth" else ""


def in_words(moved: Moved) -> str:
    """Whose codes, and how many."""
    users = ngettext("%d user", "%d users", moved.users) % moved.users
    codes = ngettext("%d usable code", "%d usable codes", moved.codes) % moved.codes
    ended = ngettext("%d ended code", "%d ended codes", moved.ended) % moved.ended
    return f"{users}, {codes}, {ended}"


def lines(moved: Moved, *, is_dry_run: bool) -> Iterator[str]:
    """The answer for people."""
    said = _("Would be moved in: %(counts)s.") if is_dry_run else _("Moved in: %(counts)s.")
    yield said % {"counts": in_words(moved)}
    if moved.weak:
        weak = _("Weak: %d. They are short, so they work at a second step only.") % moved.weak
        yield f"{weak} {_missing_step()}".rstrip()
    if moved.unreadable:
        yield _("Left where they are, because they cannot be read: %d. See the log.") % (
            moved.unreadable
        )


def _missing_step() -> str:
    if accounts.of_site().second_step_url() is not None:
        return ""
    return _('This site has none of ours: it comes with "recovery_backend_allauth".')
