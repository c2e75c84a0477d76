from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from recovery_backend import audit, flows, keyed_rows, keys
from recovery_backend.audit import Event
from recovery_backend.conf import conf
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch


class Command(BaseCommand):
    help = "Show which keys stored codes depend on, and take a key out of service."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="action", required=True)
        commands.add_parser("status", help="List the keys and how much needs each.")
        retire = commands.add_parser("retire", help="Say whether a key may be removed.")
        retire.add_argument("kid", metavar="KID", help="The key's id, as `status` shows it.")
        retire.add_argument(
            "--force",
            action="store_true",
            help="Invalidate what needs it, and tell the owners.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "status":
            self.status()
        else:
            self.retire(options["kid"], is_forced=options["force"])

    def status(self) -> None:
        ring = [key.id for key in keys.keyring()]
        stored = set(RecoveryCode.objects.usable().values_list("key_id", flat=True).distinct())
        stored.update(*(rows.numbers() for rows in keyed_rows.registered()))
        for kid in [*ring, *sorted(stored - set(ring))]:
            role = {0: "writes"}.get(ring.index(kid), "reads") if kid in ring else "missing"
            self.stdout.write(f"{kid}  {role:8} {_listed(_needed_by(kid), ', ')}")
        if number := RecoveryCode.objects.usable().imported().count():
            role = "is set" if conf.IMPORTED_KEY else "is missing"
            self.stdout.write(f"Of these codes {number} need IMPORTED_KEY, which {role}.")

    def retire(self, kid: str, *, is_forced: bool) -> None:
        if kid == keys.write_key().id:
            raise CommandError(
                f"{kid} makes the new codes. Put a new key into DJANGO_AUTH_RECOVERY_KEY and this "
                "one into DJANGO_AUTH_RECOVERY_KEY_FALLBACKS first."
            )
        needed_by = {what: number for what, number in _needed_by(kid).items() if number}
        if needed_by and not is_forced:
            raise CommandError(
                f"{_listed(needed_by)} need key {kid}. Wait until they are replaced, or run "
                "again with --force: that invalidates them and tells their owners."
            )
        if not needed_by and kid not in {key.id for key in keys.keyring()}:
            raise CommandError(f"No key {kid} is configured, and nothing needs it.")
        ended = {"codes": sum(flows.end_codes(batch) for batch in _batches_of(kid))}
        data = {"key_id": kid, "number_of_codes": ended["codes"]}
        for rows in keyed_rows.registered():
            ended[rows.name] = data[rows.field] = rows.end(kid)
        audit.record(audit.entry(Event.KEY_RETIRED, data=data))
        self.stdout.write(
            f"{_listed(ended)} invalidated. Key {kid} may now be removed from "
            "DJANGO_AUTH_RECOVERY_KEY_FALLBACKS."
        )


def _needed_by(kid: str) -> dict[str, int]:
    """How many of what need this key."""
    codes = RecoveryCode.objects.usable().filter(key_id=kid).count()
    others = {rows.name: rows.numbers().get(kid, 0) for rows in keyed_rows.registered()}
    return {"usable codes": codes, **others}


def _listed(numbers: dict[str, int], separator: str = " and ") -> str:
    return separator.join(f"{number} {what}" for what, number in numbers.items())


def _batches_of(kid: str) -> list[RecoveryCodeBatch]:
    usable = RecoveryCode.objects.usable().filter(key_id=kid)
    return list(
        RecoveryCodeBatch.objects.filter(pk__in=usable.values("batch")).select_related("user")
    )
