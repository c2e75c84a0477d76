"""Signing in by e-mail address and code, through allauth's own login pipeline."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from allauth.account import app_settings as account_settings
from allauth.account.adapter import get_adapter
from allauth.account.app_settings import EmailVerificationMethod
from allauth.account.internal.flows.email_verification import (
    is_verification_rate_limited,
    send_verification_email_at_login,
)
from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.internal.stagekit import LOGIN_SESSION_KEY
from allauth.account.models import EmailAddress, Login
from allauth.account.signals import authentication_step_completed, user_logged_in
from allauth.account.utils import has_verified_email
from allauth.core import context as allauth_context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.base.internal.flows import post_authentication
from allauth.mfa.stages import AuthenticateStage
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import urlencode

from recovery_backend import flows
from recovery_backend.accounts import TEMPLATES, Accounts
from recovery_backend.addresses import email_of, is_same_email
from recovery_backend.audit import logger
from recovery_backend.conf import conf
from recovery_backend_allauth import added, bound_records, marker, places, records, restricted
from recovery_backend_allauth.mail import mail_request

# Passed to every receiver of allauth's `user_logged_in`; kept with the login while a stage comes
# between, so that an abandoned try leaves nothing to a later sign-in.
BY_CODE = "recovery_code"


class AllauthAccounts(Accounts):
    """The accounts of allauth."""

    def is_verified(self, user: AbstractBaseUser) -> bool:
        """False where allauth would stop the owner to verify their address, and lose the code."""
        login = Login(user=user, email=email_of(user))
        if login.email_verification != EmailVerificationMethod.MANDATORY:
            return True
        if has_verified_email(user, login.email):
            return True
        # By a code of allauth's own the address is verified within this sign-in, which goes on.
        if not account_settings.EMAIL_VERIFICATION_BY_CODE_ENABLED:
            return False
        request = allauth_context.request
        return request is not None and not is_verification_rate_limited(request, login)

    def help_in(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """Send the link by which allauth verifies an address, as often as allauth would."""
        if account_settings.EMAIL_VERIFICATION_BY_CODE_ENABLED:
            return  # too many were asked for: the next one comes with the next sign-in
        try:
            send_verification_email_at_login(request, Login(user=user, email=email_of(user)))
        except Exception as error:  # mail libraries, and the site's adapter, raise what they like
            logger.error("verification not sent user=%s: %s", user.pk, type(error).__name__)

    def second_step_url(self) -> str | None:
        """allauth's login page; LOGIN_URL where only a frontend of the site's own has one."""
        return places.page("account_login")

    def step_up_url(
        self, request: HttpRequest, wanted: str, *, outlives_session: bool = False
    ) -> str | None:
        """Where a user who has a second factor proves it, unless this session has, lately.

        Or a session that knows the password alone, or was stolen since, could get codes, and
        prove itself by one of them. Who has just come by code, or just added a factor, is on the
        way to new codes, and to nothing that outlives the session: a restricted one may repair the
        account, also where its user has no factor now (R-38).
        """
        if outlives_session and restricted.holds(request):
            return reverse("recovery_restricted")
        steps, max_age = records.of_request(request), timedelta(seconds=_max_age())
        if records.is_satisfied(steps, max_age):
            return None
        is_on_the_way = records.came_by_code(steps, max_age) or added.is_recent(request)
        if is_on_the_way and not outlives_session:
            return None
        if not places.has_factor(request.user):  # type: ignore[arg-type]
            return None
        return places.to_second_factor(request, wanted)

    def confirm_url(self, request: HttpRequest, wanted: str) -> str | None:
        """allauth's page for it; None for a user with neither password nor factor."""
        user: AbstractBaseUser = request.user  # type: ignore[assignment]
        if places.has_factor(user):
            return places.to_second_factor(request, wanted)
        if not user.has_usable_password():
            return None
        return f"{places.page('account_reauthenticate')}?{urlencode({'next': wanted})}"

    def sign_in(
        self, request: HttpRequest, user: AbstractBaseUser, url: str
    ) -> HttpResponse | None:
        _drop_leftovers(request, user)
        _record(request, user)
        try:
            response: HttpResponse = perform_login(request, _login_of(user, url))
        except ImmediateHttpResponse as stopped:  # by the site's own adapter
            response = stopped.response
        if not request.user.is_authenticated and LOGIN_SESSION_KEY not in request.session:
            bound_records.drop(request)  # refused: nothing of it counts for whoever signs in next
        return response

    def delivery_address(self, user: AbstractBaseUser) -> str:
        """The verified primary address; the account's own where the site verifies none (R-81).

        None while the account's own is another: nobody can tell then which is the owner's.
        """
        own = email_of(user)
        if account_settings.EMAIL_VERIFICATION == EmailVerificationMethod.NONE:
            return own
        primary = EmailAddress.objects.filter(user_id=user.pk, primary=True, verified=True)
        addresses = primary.values_list("email", flat=True)
        return next((address for address in addresses if is_same_email(address, own)), "")

    def send_notice(self, name: str, address: str, context: dict[str, Any]) -> None:
        """By allauth's adapter, with its sender and its own prefix of the subject."""
        with mail_request():
            adapter = get_adapter()
            adapter.send_mail(f"{TEMPLATES}/{name}", address, context | {"is_prefixed": True})


def note_logins() -> None:
    """Have each sign-in say, once it is complete, whether it was by code, and each proof when it was."""
    uid = "recovery_backend_allauth.accounts"
    user_logged_in.connect(_on_login, dispatch_uid=uid)
    authentication_step_completed.connect(_on_step, dispatch_uid=uid)


def _drop_leftovers(request: HttpRequest, user: AbstractBaseUser) -> None:
    """Begin anew: no step of another user or of an abandoned try belongs to this sign-in (R-32).

    Before anything is recorded, since `login()` empties a session that knows another user.
    """
    if request.user.is_authenticated and request.user.pk == user.pk:
        return
    if SESSION_KEY in request.session:
        logout(request)
    bound_records.drop(request)


def _record(request: HttpRequest, user: AbstractBaseUser) -> None:
    """Record the step as allauth records its own, under a name that its clients know."""
    row = marker.sync(user)
    if row is not None and marker.is_marker(row):
        row.user = user
        post_authentication(request, row, passwordless=True)
    else:  # codes alone, or the last one: allauth has no row to name
        kind = records.RECOVERY_CODES
        record_authentication(request, user, "mfa", type=kind, passwordless=True)


def _login_of(user: AbstractBaseUser, url: str) -> Login:
    login = Login(user=user, email=email_of(user), redirect_url=url, signal_kwargs={BY_CODE: True})
    if conf.CODE_SATISFIES_MFA:
        login.state = {"stages": {AuthenticateStage.key: {"handled": True}}}
    return login


def _max_age() -> int:
    return conf.REAUTH_MAX_AGE or added.SECONDS


def _on_step(
    sender: object, *, request: HttpRequest, user: AbstractBaseUser | None, **kwargs: Any
) -> None:
    """Who confirms that it is them has as good as signed in again (REAUTH_MAX_AGE)."""
    signed_in = getattr(request, "user", None)  # none where a project records a step by itself
    if user is not None and signed_in is not None and signed_in.pk == user.pk:
        flows.note_sign_in(sender, request=request)


def _on_login(sender: object, *, request: HttpRequest, **kwargs: Any) -> None:
    if not kwargs.get(BY_CODE):
        flows.note_other_sign_in(request)
        records.forget_code_sign_ins(request)
        return
    flows.note_code_sign_in(request)
    # Nobody was asked whether this browser is their own: it is remembered only by the setting.
    age = account_settings.SESSION_COOKIE_AGE if account_settings.SESSION_REMEMBER else 0
    request.session.set_expiry(age)
