from __future__ import annotations

from argparse import ArgumentParser

from recovery_backend.management.commands import import_recovery_codes


class Command(import_recovery_codes.Command):
    help = (
        "Take over the recovery codes that allauth keeps, so that printed codes go on working as "
        "the second step, used ones stay used, and no seed is left. The same as "
        "`import_recovery_codes --from allauth`."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        import_recovery_codes.add_options(parser)
        parser.set_defaults(source="allauth")
