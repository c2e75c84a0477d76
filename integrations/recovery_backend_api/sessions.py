"""The session of a token, in the place of the cookie's for as long as one request takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpRequest

from recovery_backend import stash


def take_session(request: HttpRequest, session: SessionBase) -> None:
    """Let the flows work with the session of a token, whose client keeps no cookies."""
    request.session = session
    stash.use_no_cookie(request)


@contextmanager
def own_session(request: HttpRequest) -> Iterator[None]:
    """Save the session of a token after the view, and give those that the cookie brought back.

    Raises `SessionInterrupted` for a session that has ended meanwhile.
    """
    user, session = request.user, request.session
    try:
        yield
    finally:
        # Also after a key, which speaks for a user of its own: the cookie's session is not theirs.
        used, request.user = request.session, user
        if used is not session:
            request.session = session
            _save(used)


def _save(session: SessionBase) -> None:
    try:
        if session.modified:
            session.save()
    except UpdateError:
        raise SessionInterrupted("The session of this token was ended meanwhile.") from None
