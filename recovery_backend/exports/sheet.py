"""What a list of codes says about itself, whatever file it becomes.

Our own words are lazy, so that a line can still change its language. Site and account names are
foreign text: `one_line` takes away what could forge a line (R-80).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise, lazy
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from recovery_backend.clients import printable

# The longest e-mail address has 254 characters.
MAX_NAME = 254

TITLE = _("Recovery codes")
ADVICE_TITLE = _("How to use these codes")
ADVICE = (
    format_lazy(
        _("If you cannot sign in as usual, open the page “{page}” and enter one of these codes."),
        page=_("Sign in with a recovery code"),
    ),
    _("Each code works once. Cross it off when you have used it."),
    _("Keep this list in a safe place, away from the device that you sign in with."),
    _("When few codes are left, make new ones. The codes on this list then stop working."),
    _("Nobody who helps you needs a code. Never read one out or send one to anybody."),
)
NOTE = _(
    "Some letters of a name could not be printed here. The text file (.txt) shows names in full."
)


@dataclass(frozen=True, slots=True)
class CodeSheet:
    """What one list of codes says about itself."""

    codes: tuple[str, ...] = field(repr=False)
    site_name: str
    account: str
    issued_at: datetime
    expires_at: datetime | None


def one_line(name: str) -> str:
    name = unicodedata.normalize("NFC", name[: 4 * MAX_NAME])
    text = " ".join(printable(name, MAX_NAME).split())
    return f"{text}…" if len(name) > MAX_NAME else text


def _moment(moment: datetime) -> str:
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return f"{date_format(local, 'DATETIME_FORMAT')} ({timezone.get_current_timezone_name()})"


_lazy_moment = lazy(_moment, str)


def facts_of(sheet: CodeSheet) -> list[tuple[Promise, str | Promise]]:
    """Label and value of each line about the sheet: foreign text as str, our own as lazy text."""
    expiry = _lazy_moment(sheet.expires_at) if sheet.expires_at else _("no end date")
    facts = [
        (_("Site"), one_line(sheet.site_name)),
        (_("Account"), one_line(sheet.account)),
        (_("Generated"), _lazy_moment(sheet.issued_at)),
        (_("Valid until"), expiry),
    ]
    return [(label, value) for label, value in facts if value]
