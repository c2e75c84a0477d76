"""What support can do for a user at the desk: each thing with its permission and its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from recovery_backend import emails, flows
from recovery_backend.conf import conf
from recovery_backend.exceptions import (
    CooldownActive,
    EmailTurnedOff,
    NoActiveBatch,
    NoAddress,
    NotAllowed,
    RecoveryCodeError,
    SignInTooOld,
)
from recovery_backend.history import Overview
from recovery_backend.models import EMERGENCY_HOURS
from recovery_backend.views.page import waiting_text

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Text

REFUSALS: dict[type[RecoveryCodeError], Any] = {
    EmailTurnedOff: gettext_lazy("This site does not send codes by e-mail."),
    NoActiveBatch: gettext_lazy("The user has no codes now."),
    NoAddress: gettext_lazy("The account has no e-mail address that a code could be sent to."),
    SignInTooOld: gettext_lazy("For this, please sign out and in again. Nothing was changed."),
}
NOT_ALLOWED = {
    "staff": gettext_lazy("This user belongs to the staff. Only superusers may do this here."),
    "inactive": gettext_lazy("The account is not active, so no code lets the user in."),
    "off": gettext_lazy("A code does not let this user in: the site's settings do not allow it."),
}


@dataclass(frozen=True, slots=True)
class Case:
    """The user who is helped, as support may see them."""

    user: Any
    overview: Overview
    address: str

    @property
    def is_active(self) -> bool:
        return bool(getattr(self.user, "is_active", True))


@dataclass(frozen=True, slots=True)
class Remedy:
    """One thing that support can do. `name` is its place in the URL."""

    name: str
    permission: str
    title: Text
    purpose: Text
    done: Text
    consequences: Callable[[Case], Iterator[str]]
    apply: Callable[[HttpRequest, Any], object]
    refusal: Callable[[Case], RecoveryCodeError | None] = lambda case: None
    is_for_staff_too: bool = False
    is_destructive: bool = False

    def is_permitted(self, request: HttpRequest) -> bool:
        """Whether this administrator may do it, for some users at least."""
        return request.user.has_perm(f"recovery_backend.{self.permission}")

    def why_not(self, request: HttpRequest, case: Case) -> str:
        """Why it cannot be done for this user now; "" when it can."""
        if not (self.is_for_staff_too or flows.can_help(request, case.user)):
            return refusal_text(NotAllowed("staff"))
        refusal = self.refusal(case)
        return refusal_text(refusal) if refusal else ""


def refusal_text(refusal: RecoveryCodeError) -> str:
    """A refusal in words for support."""
    if isinstance(refusal, CooldownActive):
        time = waiting_text(refusal.wait_seconds)
        return _("That was done too often in an hour. Wait %(time)s.") % {"time": time}
    if isinstance(refusal, NotAllowed):
        return str(NOT_ALLOWED[refusal.why])
    return str(REFUSALS[type(refusal)])


def _told(case: Case) -> Iterator[str]:
    if conf.NOTIFY and emails.address_of(case.user):
        yield _("The user is told by e-mail.")


def _after_clearing(case: Case) -> Iterator[str]:
    yield _("The user may try to sign in with a code again at once, from every network.")
    yield _(
        "Failures are counted from nothing. If there were too many, the account is open again."
    )
    yield _("No code is changed.")


def _after_requiring(case: Case) -> Iterator[str]:
    yield _("The user's dashboard asks for new codes until the user generates some.")
    yield _("The codes that the user has now work until then. To end them at once, revoke them.")
    yield from _told(case)


def _after_revoking(case: Case) -> Iterator[str]:
    number = case.overview.left
    yield ngettext(
        "%(number)d code that is left stops working at once, for good.",
        "%(number)d codes that are left stop working at once, for good.",
        number,
    ) % {"number": number}
    yield _("Until the user signs in another way and generates new codes, no code lets them in.")
    yield from _told(case)


def _after_sending(case: Case) -> Iterator[str]:
    yield _("One code goes to the account's own address, %(address)s. You do not see it.") % {
        "address": case.address
    }
    yield ngettext(
        "It works once, for %(number)d hour. Whoever reads that mailbox can use it.",
        "It works once, for %(number)d hours. Whoever reads that mailbox can use it.",
        EMERGENCY_HOURS,
    ) % {"number": EMERGENCY_HOURS}
    if case.overview.left:
        yield _("All other codes of the user stop working at once, also if the e-mail fails.")
    yield _("Waits of the account end, and it is open again if there were too many failures.")
    yield _("The user's dashboard asks for new codes until the user generates some.")


REMEDIES = {
    remedy.name: remedy
    for remedy in (
        Remedy(
            name="clear",
            permission="clear_recoverycodecooldown",
            title=gettext_lazy("Clear the wait"),
            purpose=gettext_lazy("After too many tries, when the user has the right code."),
            done=gettext_lazy("The user may try again at once."),
            consequences=_after_clearing,
            apply=flows.clear_waits,
            is_for_staff_too=True,
        ),
        Remedy(
            name="emergency",
            permission="send_emergency_code",
            title=gettext_lazy("Send an emergency code"),
            purpose=gettext_lazy("When the user cannot sign in at all, and you know who it is."),
            done=gettext_lazy("An emergency code was made. See below whether its e-mail left."),
            consequences=_after_sending,
            apply=flows.send_emergency_code,
            refusal=lambda case: flows.emergency_refusal(case.user),
            is_destructive=True,
        ),
        Remedy(
            name="require",
            permission="require_recoverycodebatch",
            title=gettext_lazy("Require new codes"),
            purpose=gettext_lazy("When the list may be old or lost, and nothing is urgent."),
            done=gettext_lazy("The user is asked to generate new codes."),
            consequences=_after_requiring,
            apply=flows.require_new_batch,
        ),
        Remedy(
            name="revoke",
            permission="revoke_recoverycodebatch",
            title=gettext_lazy("Revoke all codes"),
            purpose=gettext_lazy("When somebody else may have the list."),
            done=gettext_lazy("All codes of the user were revoked."),
            consequences=_after_revoking,
            apply=flows.revoke_codes,
            refusal=lambda case: None if case.overview.batch else NoActiveBatch(),
            is_destructive=True,
        ),
    )
}
