"""The report of a period as lines of text, no wider than a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from recovery_backend.audit import Event, Outcome, Reason
from recovery_backend.schedules import RecoveryCodePurgeHistory
from recovery_backend.statistics import Count, Day, Report, label

GAP = "  "
NARROWEST = 12

Row = Sequence[str]


def lines(report: Report, width: int) -> Iterator[str]:
    """Everything in a report, for a terminal with that many columns."""
    activity = report.activity
    yield from _head(report)
    number = _("Number")
    yield from _table((_("Event"), number), _named(Event, activity.events), width)
    yield from _table((_("Outcome"), number), _named(Outcome, activity.outcomes), width)
    yield from _table((_("Reason"), number), _named(Reason, activity.reasons), width)
    yield from _table(
        _day_heading(), [_day(day) for day in activity.days if any(_counts(day))], width
    )
    yield from _table(_run_heading(), [_run(run) for run in report.runs], width)
    yield from _failed(report.runs)
    yield ""
    yield _("Counts are of recorded events: in a flood of tries not each one is recorded.")


def _head(report: Report) -> Iterator[str]:
    period, total = report.activity.period, report.activity.total
    days = len(period.dates())
    span = ngettext("%(days)d day", "%(days)d days", days) % {"days": days}
    moments = {"first": period.first.isoformat(), "last": period.last.isoformat(), "span": span}
    yield _("Recovery codes from %(first)s to %(last)s (%(span)s)") % moments
    yield ""
    yield ngettext("%(number)s event", "%(number)s events", total) % {"number": _number(total)}
    users = ngettext("%(number)s known owner", "%(number)s known owners", report.users)
    yield users % {"number": _number(report.users)}
    accounts = ngettext(
        "%(number)s e-mail address", "%(number)s e-mail addresses", report.accounts
    )
    yield accounts % {"number": _number(report.accounts)}


def _named(choices: type[Event] | type[Outcome] | type[Reason], counts: list[Count]) -> list[Row]:
    return [(_meaning(name, label(choices, name)), _number(number)) for name, number in counts]


def _meaning(name: str, words: str) -> str:
    return name if name == words else f"{name}: {words}"


def _day_heading() -> Row:
    return (
        _("Day"),
        _("Sign-ins"),
        pgettext("counts", "Failures"),
        _("While waiting"),
        pgettext("counts", "Generated"),
    )


def _day(day: Day) -> Row:
    return (day.date.isoformat(), *map(_number, _counts(day)))


def _counts(day: Day) -> tuple[int, ...]:
    return day.sign_ins, day.failures, day.cooldowns, day.generated


def _run_heading() -> Row:
    return (_("Run"), _("Codes"), _("Batches"), _("Events"), _("Other rows"), _("Messages"))


def _run(run: RecoveryCodePurgeHistory) -> Row:
    counts = (
        run.codes_removed,
        run.batches_removed,
        run.audit_rows_removed,
        run.other_rows_removed,
        run.messages_sent,
    )
    return (f"{_moment(run.started_at)} {run.get_kind_display()}", *map(_number, counts))


def _failed(runs: Sequence[RecoveryCodePurgeHistory]) -> Iterator[str]:
    for run in runs:
        if run.error:
            words = {"moment": _moment(run.started_at), "error": run.error}
            yield _("The run of %(moment)s failed: %(error)s.") % words


def _moment(moment: datetime) -> str:
    local = moment if timezone.is_naive(moment) else timezone.localtime(moment)
    return local.strftime("%Y-%m-%d %H:%M")


def _number(number: int) -> str:
    return number_format(number, force_grouping=True)


def _table(heading: Row, rows: Sequence[Row], width: int) -> Iterator[str]:
    """An empty line and a table; nothing without rows. The first column gives way to the others."""
    if not rows:
        return
    widths = [max(map(_width, column)) for column in zip(heading, *rows, strict=True)]
    others = sum(widths[1:]) + len(GAP) * (len(widths) - 1)
    widths[0] = min(widths[0], max(NARROWEST, width - others))
    yield ""
    for row in (heading, ["-" * one for one in widths], *rows):
        numbers = [
            _padding(text, one) + text for text, one in zip(row[1:], widths[1:], strict=True)
        ]
        first = _cut(row[0], widths[0])
        yield GAP.join([first + _padding(first, widths[0]), *numbers])


def _padding(text: str, width: int) -> str:
    return " " * (width - _width(text))


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def _width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(
        0 if unicodedata.combining(it) else 1 + (unicodedata.east_asian_width(it) in "WF")
        for it in text
    )
