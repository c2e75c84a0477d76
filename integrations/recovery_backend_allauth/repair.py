"""The pages on which people repair their account: open to sessions that may open nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.urls import ResolverMatch

# By name: not every site installs all of allauth, and what is not here is closed. Left out on
# purpose: e-mail addresses and social accounts (who holds a stolen code would add their own),
# sign-up, the admin, and uploaded media.
VIEWS = {
    "allauth.account.views": (
        "AccountInactiveView",
        "CompletePasswordResetView",
        "ConfirmLoginCodeView",
        "ConfirmPasswordResetCodeView",
        "LoginView",
        "LogoutView",
        "PasswordChangeView",
        "PasswordResetDoneView",
        "PasswordResetFromKeyDoneView",
        "PasswordResetFromKeyView",
        "PasswordResetView",
        "PasswordSetView",
        "ReauthenticateView",
        "RequestLoginCodeView",
    ),
    "allauth.mfa.base.views": ("AuthenticateView", "IndexView", "ReauthenticateView", "TrustView"),
    "allauth.mfa.recovery_codes.views": (
        "DownloadRecoveryCodesView",
        "GenerateRecoveryCodesView",
        "ViewRecoveryCodesView",
    ),
    "allauth.mfa.totp.views": ("ActivateTOTPView", "DeactivateTOTPView"),
    "allauth.mfa.webauthn.views": (
        "AddWebAuthnView",
        "EditWebAuthnView",
        "ListWebAuthnView",
        "LoginWebAuthnView",
        "ReauthenticateWebAuthnView",
        "RemoveWebAuthnView",
    ),
    "allauth.headless.base.views": ("ConfigView",),
    "allauth.headless.tokens.views": ("RefreshTokenView",),
    "allauth.headless.account.views": (
        "ChangePasswordView",
        "ConfirmLoginCodeView",
        "LoginView",
        "ReauthenticateView",
        "RequestLoginCodeView",
        "RequestPasswordResetView",
        "ResendLoginCodeView",
        "ResetPasswordView",
        "SessionView",
    ),
    "allauth.headless.mfa.views": (
        "AuthenticateView",
        "AuthenticateWebAuthnView",
        "AuthenticatorsView",
        "LoginWebAuthnView",
        "ManageRecoveryCodesView",
        "ManageTOTPView",
        "ManageWebAuthnView",
        "ReauthenticateView",
        "ReauthenticateWebAuthnView",
        "TrustView",
    ),
    "django.contrib.auth.views": ("LogoutView", "PasswordChangeDoneView", "PasswordChangeView"),
    "django.contrib.staticfiles.views": ("serve",),
    "django.views.i18n": ("JSONCatalog", "JavaScriptCatalog", "set_language"),
    "recovery_backend.views.page": ("RecoveryPage",),
}
OPEN = frozenset(f"{module}.{name}" for module, names in VIEWS.items() for name in names)
# Of our own pages, what gives a way in that outlives the session.
CLOSED = frozenset({"recovery_backend_api.keys.views.KeyChange"})
# allauth lets nobody add a factor whose address is not verified.
BEFORE_ENROLMENT = frozenset(
    {
        "allauth.account.views.ConfirmEmailVerificationCodeView",
        "allauth.account.views.ConfirmEmailView",
        "allauth.account.views.EmailView",
        "allauth.account.views.EmailVerificationSentView",
        "allauth.account.views.email_verification_sent",
        "allauth.headless.account.views.ManageEmailView",
        "allauth.headless.account.views.ResendEmailVerificationCodeView",
        "allauth.headless.account.views.VerifyEmailView",
    }
)

# Of these, what proves a factor and changes none.
WAYS_IN = frozenset(
    {
        "allauth.account.views.LogoutView",
        "allauth.account.views.ReauthenticateView",
        "allauth.headless.account.views.ReauthenticateView",
        "allauth.headless.account.views.SessionView",
        "allauth.headless.base.views.ConfigView",
        "allauth.headless.mfa.views.ReauthenticateView",
        "allauth.headless.mfa.views.ReauthenticateWebAuthnView",
        "allauth.headless.tokens.views.RefreshTokenView",
        "allauth.mfa.base.views.ReauthenticateView",
        "allauth.mfa.webauthn.views.ReauthenticateWebAuthnView",
        "django.contrib.auth.views.LogoutView",
        "django.contrib.staticfiles.views.serve",
        "django.views.i18n.JSONCatalog",
        "django.views.i18n.JavaScriptCatalog",
        "django.views.i18n.set_language",
    }
)
# What gives a first password to a user without one, and asks for none.
FIRST_PASSWORD = frozenset(
    {
        "allauth.account.views.PasswordSetView",
        "allauth.headless.account.views.ChangePasswordView",
    }
)


def is_open(request: HttpRequest) -> bool:
    """Whether the request leads to a page of repair, whatever its path looks like (R-38).

    Judged by the view that Django has resolved. A site's own view is open if its class inherits
    from one of these.
    """
    match = request.resolver_match
    return _leads_to(OPEN, match) and not _is_named(CLOSED, match)


def is_way_in(request: HttpRequest) -> bool:
    """Whether the request leads to a page that proves a factor again, or signs out."""
    return _leads_to(WAYS_IN, request.resolver_match)


def is_before_enrolment(request: HttpRequest) -> bool:
    """Whether the request leads to a page without which users may get no first factor."""
    return _leads_to(BEFORE_ENROLMENT, request.resolver_match)


def is_first_password(request: HttpRequest, user: AbstractBaseUser) -> bool:
    """Whether the request leads to a page that would give this user their first password."""
    return not user.has_usable_password() and _is_named(FIRST_PASSWORD, request.resolver_match)


def signing_out_of(match: ResolverMatch | None) -> AdminSite | None:
    """The admin that one signs out of there; None if it is no such page."""
    if match is None or match.url_name != "logout":
        return None
    # `AdminSite.get_urls` marks its own views so.
    site: AdminSite | None = getattr(match.func, "admin_site", None)
    return site


def _leads_to(views: frozenset[str], match: ResolverMatch | None) -> bool:
    if match is None:
        return False
    is_signing_out = signing_out_of(match) is not None
    return _is_named(views, match) or is_signing_out or _is_static_file(match)


def _is_named(views: frozenset[str], match: ResolverMatch | None) -> bool:
    return match is not None and any(name in views for name in _names(match.func))


def _names(view: object) -> Iterator[str]:
    """What the view is called, under its decorators, with the classes that it inherits from."""
    while view is not None:
        cls = getattr(view, "view_class", None)
        yield from map(_name, cls.__mro__ if isinstance(cls, type) else (view,))
        view = getattr(view, "__wrapped__", None)


def _name(thing: object) -> str:
    module, name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    return f"{module}.{name}"


def _is_static_file(match: ResolverMatch) -> bool:
    # The same view also serves media, and whatever else a site keeps in folders.
    folder = match.kwargs.get("document_root")
    is_serve = "django.views.static.serve" in _names(match.func)
    return is_serve and bool(folder) and str(folder) == str(settings.STATIC_ROOT)
