"""Management commands, as the tests call them."""

from __future__ import annotations

import io

from django.core.management import call_command


class Terminal(io.StringIO):
    def isatty(self):
        return True


def call(command, **options):
    """What it wrote, what it wrote as errors, and its exit code."""
    out, err = io.StringIO(), options.pop("stderr", None) or io.StringIO()
    try:
        call_command(command, stdout=out, stderr=err, **options)
    except SystemExit as ended:
        return out.getvalue(), err.getvalue(), ended.code
    return out.getvalue(), err.getvalue(), 0
