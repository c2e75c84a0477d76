"""Getting in: with e-mail address and code, and after too many failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth import BACKEND_SESSION_KEY, authenticate
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend import accounts, audit, backends, cooldown
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, Reason, logger
from recovery_backend.clients import client_of
from recovery_backend.codes import PresentedCode
from recovery_backend.conf import conf
from recovery_backend.exceptions import CooldownActive, NotVerified
from recovery_backend.transactions import in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SESSION_KEY = "recovery_backend"
SIGNED_IN_AT = "recovery_backend_signed_in_at"
BACKEND_PATH = "recovery_backend.backends.RecoveryCodeBackend"


def wait_seconds(request: HttpRequest, email: object) -> int:
    """Seconds for which this client is refused, whatever its code; 0 when it is not.

    The first refusal of each wait is recorded (R-115).
    """
    client = client_of(request)
    if refusal := cooldown.client_refusal(request, client.network):
        return refusal.wait_seconds
    seconds = cooldown.wait_seconds(email, client.network)

    def work() -> None:
        if cooldown.is_first_refusal(email, client.network):
            audit.record(
                audit.entry(
                    Event.LOGIN_THROTTLED, client=client, email=email, reason=Reason.COOLDOWN
                )
            )

    if seconds and not cooldown.is_known_refusal(email, client.network, seconds):
        in_transaction(work)
    return seconds


@sensitive_variables("password")
def check_credentials(
    request: HttpRequest, email: str, code: PresentedCode, password: str | None = None
) -> User | None:
    """The user whom these credentials may sign in, with the code spent; else None.

    With LOGIN_MODE "second_factor" the password is needed too. Raises `CooldownActive` while the
    client has to wait, and `NotVerified` for a right code that the site's accounts refuse.
    """
    if conf.LOGIN_MODE == "second_factor":
        user = _check_with_password(request, email, code, password or "")
    else:
        user = authenticate(request, email=email, recovery_code=code)
    if user is None and (wait := getattr(request, "recovery_wait_seconds", 0)):
        raise CooldownActive(wait)
    if user is None and (owner := getattr(request, "recovery_refused_owner", None)):
        accounts.of_site().help_in(request, owner)
        raise NotVerified
    return user


@sensitive_variables("password")
def _check_with_password(
    request: HttpRequest, email: str, code: PresentedCode, password: str
) -> User | None:
    """The password is checked by the project's own backends before the code is spent.

    Three steps, so that no row stays locked while a password is hashed.
    """
    attempt = backends.guarded(lambda: backends.open_attempt(request, email, code))
    verdict = backends.guarded(lambda: backends.judge(attempt)) if attempt else None
    if attempt is None or verdict is None:
        return None
    row, reason = verdict
    owner = row.user if row is not None and reason is None else None
    # Without an owner the backends hash for nobody, which takes as long as a wrong password.
    name = owner.get_username() if owner else ""
    user = authenticate(request, username=name, password=password)
    if reason is None and (user is None or user != owner):
        reason = Reason.PASSWORD
    spent = backends.guarded(
        lambda: in_transaction(lambda: backends.close_attempt(attempt, request, row, reason))
    )
    return user if spent is not None else None


def sign_in(request: HttpRequest, user: AbstractBaseUser, url: str) -> HttpResponse | None:
    """Sign the user in under a new session key, also when they were signed in already (R-32).

    None when they may go on to `url`; else what the site's accounts show them instead.
    """
    if request.user.is_authenticated:  # login() keeps the key of a session of the same user's
        request.session.cycle_key()
    response = accounts.of_site().sign_in(request, user, url)
    if response is None:
        note_code_sign_in(request)
    return response


def note_code_sign_in(request: HttpRequest) -> None:
    """Remember in the session that it began with e-mail address and code."""
    request.session[SESSION_KEY] = {
        "method": "recovery_code",
        "at": timezone.now().isoformat(timespec="seconds"),
    }


def note_other_sign_in(request: HttpRequest) -> None:
    """Forget that the session once began with a code: its user has signed in otherwise since."""
    request.session.pop(SESSION_KEY, None)


def second_step_url() -> str | None:
    """Where a code is asked for after the password; None where our page asks for both, or one."""
    return accounts.of_site().second_step_url() if conf.LOGIN_MODE == "second_factor" else None


def reopen_on_sign_in(
    sender: object, *, user: AbstractBaseUser, request: HttpRequest | None = None, **kwargs: Any
) -> None:
    """Open an account that HARD_CAP had closed, when its owner signs in by other means (R-52).

    Without HARD_CAP, and after a sign-in by code, it touches nothing.
    """

    def work() -> None:
        if cooldown.open_account(email_of(user)):
            audit.record(
                audit.entry(
                    Event.COOLDOWN_CLEARED, client=client_of(request), user=user, actor=user
                )
            )

    try:
        if conf.HARD_CAP is not None and request is not None and not _came_by_code(request):
            in_transaction(work)
    except Exception as error:  # signing in otherwise never fails because of us
        logger.error("account not opened: %s", type(error).__name__)


def note_sign_in(sender: object, *, request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Remember in the session when its user signed in, for REAUTH_MAX_AGE."""
    if request is not None and hasattr(request, "session"):
        request.session[SIGNED_IN_AT] = timezone.now().timestamp()


def clear_cooldown(
    account: str,
    *,
    user: AbstractBaseUser | None = None,
    actor: AbstractBaseUser | None = None,
    request: HttpRequest | None = None,
) -> int:
    """Let an account (by `cooldown.account_key`) try again, also one that HARD_CAP had closed.

    Returns how many counters were dropped. `user` is the owner, where one is known.
    """

    def work() -> int:
        dropped = cooldown.clear(account)
        data = {"cooldown": account, "dropped": dropped}
        client = client_of(request)
        audit.record(
            audit.entry(Event.COOLDOWN_CLEARED, client=client, user=user, actor=actor, data=data)
        )
        return dropped

    return in_transaction(work)


def _came_by_code(request: HttpRequest) -> bool:
    session = getattr(request, "session", {})
    return bool(session.get(BACKEND_SESSION_KEY) == BACKEND_PATH)
