"""A factor that a session by code removed is due at the next sign-in."""

from __future__ import annotations

import json

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth import SESSION_KEY
from django.db import connection
from django.urls import reverse

from recovery_backend.models import RecoveryCodeSetup
from tests.conftest import PASSWORD, Browser
from tests.with_allauth.conftest import REAUTHENTICATE, add_passkey, totp_now
from tests.with_allauth.restricted.conftest import (
    APP,
    JWT,
    PAGE,
    SESSION_TOKENS,
    add_factor,
    app_of,
    is_held,
)


def remove(browser):
    """Remove TOTP at allauth's page, confirmed with the second code of the list."""
    browser.post(REAUTHENTICATE, {"code": browser.codes[1]})
    browser.post(reverse("mfa_deactivate_totp"))
    assert not Authenticator.objects.filter(type="totp").exists()
    return browser


def is_due(user):
    return RecoveryCodeSetup.objects.filter(user=user, factor_due_at__isnull=False).exists()


@pytest.fixture
def by_password():
    """A browser in which this user, who has no factor, has signed in and confirmed by password."""

    def sign_in(user):
        browser = Browser()
        browser.post("/accounts/login/", {"login": user.username, "password": PASSWORD})
        browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
        assert browser.session[SESSION_KEY] == str(user.pk)
        return browser

    return sign_in


class TestTheNextSignIn:
    """R-38: whoever holds the list cannot remove the factor, and come back without it."""

    @pytest.fixture(params=[False, True])
    def is_atomic(self, request, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", request.param)

    def test_is_restricted_after_the_factor_was_removed_at_the_page(
        self, held, by_code, is_atomic
    ):
        remove(held).post(reverse("recovery_logout"))
        again = by_code(held.user, held.codes[2])
        assert is_held(again)
        page = again.get(PAGE).content.decode()
        assert "Add a second factor" in page and "Once you have added one" in page
        assert "Confirm that it is you" not in page

    def test_after_a_passkey_was(self, passkey_user, by_code):
        user, codes = passkey_user
        browser = by_code(user, codes[0])
        browser.codes = codes
        key = Authenticator.objects.get(user=user, type="webauthn").pk
        browser.post(REAUTHENTICATE, {"code": codes[1]})
        assert browser.post(reverse("mfa_remove_webauthn", args=[key])).status_code == 302
        assert not Authenticator.objects.filter(user=user, type="webauthn").exists()
        assert is_held(by_code(user, codes[2]))

    def test_after_a_browser_removed_it_by_the_api(self, held, by_code, is_atomic):
        held.post(REAUTHENTICATE, {"code": held.codes[1]})
        url = "/_allauth/browser/v1/account/authenticators/totp"
        assert held.delete(url).status_code == 200
        held.delete("/_allauth/browser/v1/auth/session")
        assert is_held(by_code(held.user, held.codes[2]))

    @pytest.mark.parametrize("strategy", [SESSION_TOKENS, JWT])
    def test_after_an_app_did(self, totp_user, by_code, settings, is_atomic, strategy):
        settings.HEADLESS_TOKEN_STRATEGY = strategy
        user, codes = totp_user
        client, headers = app_of(user, codes[0])
        body = json.dumps({"code": codes[1]})
        url = f"{APP}auth/2fa/reauthenticate"
        client.post(url, body, content_type="application/json", headers=headers)
        answer = client.delete(f"{APP}account/authenticators/totp", headers=headers)
        assert answer.status_code == 200
        client.delete(f"{APP}auth/session", headers=headers)
        client, headers = app_of(user, codes[2])
        assert client.get("/api/", headers=headers).json()["code"] == "restricted_session"

    def test_is_free_with_the_password(self, held, by_password):
        remove(held)
        assert not is_held(by_password(held.user))

    def test_is_free_once_the_owner_has_had_a_factor_again(
        self, held, by_code, by_password, committed
    ):
        remove(held)
        owner = by_password(held.user)
        with committed():
            assert add_factor(owner).status_code == 302
        assert not is_due(held.user)
        owner.post(reverse("mfa_deactivate_totp"))
        assert not Authenticator.objects.filter(type="totp").exists()
        assert not is_held(by_code(held.user, held.codes[2]))

    def test_needs_no_more_than_a_factor_that_the_same_session_adds(self, held, committed):
        remove(held)
        with committed():
            add_factor(held)
        assert not is_held(held) and not is_due(held.user)

    def test_is_free_where_a_program_or_an_administrator_removed_it(
        self, totp_user, by_code, make_user
    ):
        user, codes = totp_user
        admin = Browser()
        admin.force_login(make_user(is_staff=True, is_superuser=True))
        factor = Authenticator.objects.get(user=user, type="totp")
        url = reverse("admin:mfa_authenticator_delete", args=[factor.pk])
        assert admin.post(url, {"post": "yes"}).status_code == 302
        assert not Authenticator.objects.filter(user=user, type="totp").exists()
        assert not is_held(by_code(user, codes[0]))

    def test_is_free_where_a_free_session_removed_it(self, totp_user, before_step, by_code):
        user, codes = totp_user
        browser = before_step(user)
        browser.post("/accounts/2fa/authenticate/", {"code": totp_now()})
        browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
        browser.post(reverse("mfa_deactivate_totp"))
        assert not Authenticator.objects.filter(user=user, type="totp").exists()
        assert not is_held(by_code(user, codes[0]))

    def test_is_free_where_sessions_were_full(self, settings, totp_user, by_code):
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "full"
        user, codes = totp_user
        browser = by_code(user, codes[0])
        browser.codes = codes
        remove(browser)
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
        assert not is_held(by_code(user, codes[2]))

    @pytest.mark.parametrize("is_last_one_removed_here", [True, False])
    def test_the_last_of_two_factors_decides(self, held, by_code, is_last_one_removed_here):
        key = add_passkey(held.user)
        remove(held)
        if is_last_one_removed_here:
            assert held.post(reverse("mfa_remove_webauthn", args=[key.pk])).status_code == 302
        else:
            key.delete()
        assert is_held(by_code(held.user, held.codes[2])) == is_last_one_removed_here

    def test_an_account_that_goes_with_its_factor_is_not_held_up(self, held):
        assert held.post("/leave/").content == b"gone"
        assert not RecoveryCodeSetup.objects.exists()
