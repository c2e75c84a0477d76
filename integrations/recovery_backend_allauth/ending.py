"""The end of a session, whichever way a request brings it, and what its user is told."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from recovery_backend_allauth import places
from recovery_backend_allauth.proofs import Proof
from recovery_backend_allauth.refusals import is_program, lead, tell


def end(request: HttpRequest, session: SessionBase) -> None:
    """Sign this session out, be it the cookie's or that of a token."""
    if session is request.session:
        logout(request)  # which also tells other apps
    else:
        session.flush()


def ended(request: HttpRequest, code: str, detail: str) -> HttpResponse:
    """401 with the reason for programs; people are told on the page where they sign in."""
    if is_program(request):
        return tell(code, detail, status=401)
    messages.warning(request, detail, fail_silently=True)
    return lead(places.to_sign_in(request, places.wanted_by(request)))


def ended_before(request: HttpRequest, proof: Proof) -> HttpResponse | None:
    """The answer to a token whose session has ended; None where the user came some other way.

    A stateless token outlives its session: what that was refused, the token must not open.
    """
    if proof.session is not None or proof.user is request.user:
        return None
    return ended(request, "session_ended", _("This session has ended. Please sign in again."))


def keep(request: HttpRequest, session: SessionBase) -> None:
    """Save a session that was changed; Django saves that of the cookie itself."""
    if session is not request.session:
        session.save()
