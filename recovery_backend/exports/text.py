"""The codes as plain text, and as a table for spreadsheets (R-78, R-80)."""

from __future__ import annotations

import csv
import re
from io import StringIO

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext
from django.views.decorators.debug import sensitive_variables

from recovery_backend.exports.sheet import ADVICE, ADVICE_TITLE, TITLE, CodeSheet, facts_of

# Full-width, small and mathematical forms count: spreadsheets read some of them as the sign.
FORMULA_SIGNS = "=+@\uff1d\uff0b\uff20\ufe66\ufe62\ufe6b\uff0d\ufe63\u2212-"
# A spreadsheet that expects ";" between cells begins a new cell within ours at each one.
FORMULA = re.compile(rf"(^|[;,|])(?=[\s\"]*[{FORMULA_SIGNS}])")


@sensitive_variables()
def txt(sheet: CodeSheet) -> bytes:
    width = len(str(len(sheet.codes)))
    colon = pgettext("between a label and its value", ": ")
    facts = [f"{label}{colon}{value}" for label, value in facts_of(sheet)]
    codes = [f"[ ] {number:>{width}}. {code}" for number, code in enumerate(sheet.codes, 1)]
    advice = [f"- {sentence}" for sentence in ADVICE]
    lines = [TITLE, "", *facts, "", *codes, "", ADVICE_TITLE, "", *advice, ""]
    return "\r\n".join(map(str, lines)).encode()


@sensitive_variables()
def _cell(text: object) -> str:
    return FORMULA.sub(r"\1'", str(text))


@sensitive_variables()
def csv_table(sheet: CodeSheet) -> bytes:
    # Each row names its site and account: rows are sorted, filtered and pasted into other
    # tables, and lines above the heading would be no RFC 4180 table.
    facts = facts_of(sheet)
    heading = (_("Number"), _("Recovery code"), _("Used"), *(label for label, _value in facts))
    values = tuple(value for _label, value in facts)
    table = StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(map(_cell, heading))
    for number, code in enumerate(sheet.codes, 1):
        writer.writerow(map(_cell, (number, code, "", *values)))
    return table.getvalue().encode("utf-8-sig")
