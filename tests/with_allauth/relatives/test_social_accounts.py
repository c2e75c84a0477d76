"""Signing in by a provider."""

from __future__ import annotations

import json

import pytest
from allauth.account.adapter import DefaultAccountAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.test import Client

from tests.conftest import PASSWORD
from tests.with_allauth.conftest import add_totp, totp_now
from tests.with_allauth.relatives.conftest import AUTHENTICATE

pytestmark = pytest.mark.django_db


class Closed(DefaultAccountAdapter):
    def is_open_for_signup(self, request):
        return False


class Invited(DefaultSocialAccountAdapter):
    def is_open_for_signup(self, request, sociallogin):
        return sociallogin.user.email.endswith("@engines.example")


def provider_token(**account):
    """What the dummy provider says of somebody."""
    token = {"id_token": json.dumps(account)}
    return {"provider": "dummy", "process": "login", "token": token}


@pytest.fixture
def linked(user):
    """The owner, whose social account has number 7."""
    SocialAccount.objects.create(user=user, provider="dummy", uid="7")
    return user


def test_a_stranger_gets_an_account_and_a_token(app, db):
    data = provider_token(id=8, email="new@example.com", username="new")
    assert app.post("auth/provider/token", **data) == 200
    _, body = app.ask("GET", "auth/session")
    assert body["data"]["user"]["username"] == "new"
    assert body["data"]["methods"][0]["method"] == "socialaccount"


def test_the_second_factor_is_asked_for_all_the_same(app, linked, clock):
    add_totp(linked)
    assert app.post("auth/provider/token", **provider_token(id=7)) == 401
    assert app.waits_for() == ["mfa_authenticate"] and not app.opens()
    assert app.post(AUTHENTICATE, code=totp_now()) == 200 and app.opens()


def test_a_recovery_code_is_taken_there(app, totp_user):
    user, codes = totp_user
    SocialAccount.objects.create(user=user, provider="dummy", uid="7")
    app.post("auth/provider/token", **provider_token(id=7))
    assert app.post(AUTHENTICATE, code=codes[0]) == 200 and app.opens()


def test_it_leads_to_a_jwt(app, linked, jwt):
    add_totp(linked)
    assert app.post("auth/provider/token", **provider_token(id=7)) == 401
    assert app.post(AUTHENTICATE, code=totp_now()) == 200
    assert app.meta["access_token"] and app.meta["refresh_token"] and app.opens()


def test_what_is_no_token_of_the_provider_signs_nobody_in(app, linked):
    data = {"provider": "dummy", "process": "login", "token": {"id_token": "7:"}}
    assert app.post("auth/provider/token", **data) == 400
    assert app.ask("GET", "auth/session")[0] == 401


def test_providers_are_listed(app, db):
    providers = app.ask("GET", "config")[1]["data"]["socialaccount"]["providers"]
    assert [provider["id"] for provider in providers] == ["dummy"]


@pytest.mark.parametrize(
    ("callback", "is_led"), [("/welcome/", True), ("https://evil.example/", False)]
)
def test_a_browser_goes_there_and_comes_back_to_this_site_alone(linked, callback, is_led):
    browser = Client()
    fields = {"provider": "dummy", "process": "login", "callback_url": callback}
    answer = browser.post("/_allauth/browser/v1/auth/provider/redirect", fields)
    assert (answer.status_code == 302) is is_led
    if is_led:
        answer = browser.post(answer["Location"], {"id": "7"})
        assert answer["Location"] == callback
    session = browser.get("/_allauth/browser/v1/auth/session")
    assert (session.status_code == 200) is is_led


def test_a_site_may_be_closed_to_strangers(app, db, settings):
    settings.ACCOUNT_ADAPTER = f"{__name__}.Closed"
    fields = {"email": "new@example.com", "username": "new", "password": PASSWORD}
    assert app.post("auth/signup", **fields) == 403
    data = provider_token(id=8, email="new@example.com", username="new")
    assert app.post("auth/provider/token", **data) == 403
    assert not get_user_model().objects.exists()


@pytest.mark.parametrize(("domain", "status"), [("engines.example", 200), ("example.com", 403)])
def test_it_may_be_open_to_some_by_an_adapter_of_ones_own(app, db, settings, domain, status):
    settings.SOCIALACCOUNT_ADAPTER = f"{__name__}.Invited"
    data = provider_token(id=8, email=f"new@{domain}", username="new")
    assert app.post("auth/provider/token", **data) == status
    assert get_user_model().objects.count() == (status == 200)
