"""Measures: what is done for the users of selected rows, after a question that names each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recovery_backend import flows
from recovery_backend.admin.lists import ReadOnlyAdmin
from recovery_backend.admin.names import name_of
from recovery_backend.admin.remedies import Remedy, refusal_text
from recovery_backend.exceptions import RecoveryCodeError

# A question that names more people is not read.
MAX_USERS = 200
# A user has several rows; a flood of rows is not read either.
ROWS_OF_A_USER = 10
QUESTIONS = {
    "clear": _(
        "All waits of these accounts end, from every network, and one that was closed after too "
        "many failures is open again. No code is changed."
    ),
    "revoke": _(
        "All codes of these users stop working at once, for good, whichever of their batches you "
        "selected. They can generate new ones when they sign in another way."
    ),
    "require": _(
        "The dashboards of these users ask for new codes until they generate some. The codes that "
        "they have now work until then."
    ),
}


class MeasuresAdmin(ReadOnlyAdmin):
    """A table to look at, of whose users some can be helped at once."""

    # What all rows of one user have in common.
    subject: ClassVar[str] = "user_id"

    def apply(self, remedy: Remedy, request: HttpRequest, row: Any) -> None:
        """Do it for the user of a row."""
        remedy.apply(request, row.user)

    def question(self, remedy: Remedy) -> str:
        """What follows from it, before it is done."""
        return str(QUESTIONS[remedy.name])

    def told(self, request: HttpRequest, row: Any) -> str:
        """Whose row it is, in the words of the question."""
        return name_of(request, row.user)

    def done_text(self, remedy: Remedy, number: int) -> str:
        """What was done, for how many."""
        text = ngettext("%(title)s: %(number)d user.", "%(title)s: %(number)d users.", number)
        return text % {"title": remedy.title, "number": number}

    def ask_or_apply(
        self, remedy: Remedy, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        """The question; once it is answered, one change and one line of history for each user."""
        rows = self._one_of_each(queryset)
        if rows is None:
            text = gettext("Select fewer rows, of at most %(number)d users. Nothing was changed.")
            self.message_user(request, text % {"number": MAX_USERS}, messages.ERROR)
            return None
        try:
            flows.require_recent_sign_in(request)
        except RecoveryCodeError as refusal:
            self.message_user(request, refusal_text(refusal), messages.ERROR)
            return None
        if "post" not in request.POST:
            return self._question(remedy, request, rows)
        if done := sum(self._is_applied(remedy, request, row) for row in rows):
            self.message_user(request, self.done_text(remedy, done), messages.SUCCESS)
        return None

    def _one_of_each(self, queryset: QuerySet[Any]) -> list[Any] | None:
        """The first row of each user; None for too many of either."""
        limit = ROWS_OF_A_USER * MAX_USERS
        rows = list(queryset[: limit + 1])
        first: dict[Any, Any] = {}
        for row in rows:
            first.setdefault(getattr(row, self.subject), row)
        return None if len(rows) > limit or len(first) > MAX_USERS else list(first.values())

    def _question(
        self, remedy: Remedy, request: HttpRequest, rows: Sequence[Model]
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": remedy.title,
            "question": self.question(remedy),
            "remedy": remedy,
            "rows": [(row.pk, self.told(request, row)) for row in rows],
            "opts": self.opts,
            "media": self.media,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/recovery_backend/measure_confirm.html", context)

    def _is_applied(self, remedy: Remedy, request: HttpRequest, row: Model) -> bool:
        try:
            self.apply(remedy, request, row)
        except RecoveryCodeError as refusal:
            text = f"{self.told(request, row)}: {refusal_text(refusal)}"
            self.message_user(request, text, messages.WARNING)
            return False
        self.log_change(request, row, str(remedy.title))
        return True
