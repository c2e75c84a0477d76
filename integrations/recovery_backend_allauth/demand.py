"""A second factor, demanded of a request: what is missing, and what is answered then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from recovery_backend_allauth import places, records, refusals
from recovery_backend_allauth.proofs import Proof
from recovery_backend_allauth.records import Record


@dataclass(frozen=True)
class Refusal:
    """What a program is told."""

    status: int
    code: str
    detail: str | Promise


SIGN_IN = Refusal(401, "not_authenticated", gettext_lazy("Please sign in first."))
ENROL = Refusal(
    403,
    "mfa_enrolment_required",
    gettext_lazy("This needs a second factor. Please set up an authenticator app or a passkey."),
)
PROVE = Refusal(
    403,
    "mfa_required",
    gettext_lazy("This needs your second factor. Please confirm that it is you."),
)


def missing(
    user: AbstractBaseUser, steps: Sequence[Record], max_age: timedelta | None = None
) -> Refusal | None:
    """What this signed-in user has yet to do; None if the second factor is proven."""
    if records.is_satisfied(steps, max_age):
        return None
    return PROVE if places.has_factor(user) else ENROL


def answer(
    request: HttpRequest, proof: Proof | None, max_age: timedelta | None = None
) -> HttpResponse | None:
    """What the request gets in place of the view; None lets the view run."""
    refusal = missing(proof.user, proof.records, max_age) if proof else SIGN_IN
    if refusal is None:
        return None
    if refusals.is_program(request):
        return refusals.tell(refusal.code, str(refusal.detail), status=refusal.status)
    return _lead(request, refusal)


def _lead(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    wanted = places.wanted_by(request)
    if request.method not in places.SAFE_METHODS:
        # Not sent again for them, as allauth would: see the documentation of `mfa_required`.
        text = _("Nothing was changed yet. Please send the form again afterwards.")
        messages.info(request, text, fail_silently=True)
    if refusal is SIGN_IN:
        return refusals.lead(places.to_sign_in(request, wanted))
    return refusals.lead(places.to_second_factor(request, wanted))
