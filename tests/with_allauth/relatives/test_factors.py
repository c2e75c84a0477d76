"""What holds for each kind of factor."""

from __future__ import annotations

import pytest
from allauth.headless.constants import Client as AllauthClient
from allauth.headless.mfa.urls import build_urlpatterns
from allauth.mfa.models import Authenticator
from django.test import Client
from django.urls import include, path

from tests.conftest import PASSWORD
from tests.with_allauth.conftest import add_passkey, add_totp, target
from tests.with_allauth.relatives.conftest import TOTP, WEBAUTHN

CONFIRM = "/accounts/reauthenticate/"

pytestmark = pytest.mark.django_db


def urls_now():
    """The app's routes, as these settings make them."""

    class Urls:
        urlpatterns = [path("_allauth/app/v1/", include(build_urlpatterns(AllauthClient.APP)))]

    return Urls


@pytest.mark.parametrize(
    ("endpoint", "name", "value"),
    [
        (TOTP, "MFA_SUPPORTED_TYPES", ["webauthn"]),
        (WEBAUTHN, "MFA_SUPPORTED_TYPES", ["totp"]),
        ("auth/webauthn/login", "MFA_PASSKEY_LOGIN_ENABLED", False),
    ],
)
def test_what_a_site_leaves_out_has_no_endpoint(confirmed, settings, endpoint, name, value):
    def asked():
        return (
            Client().options(f"/_allauth/app/v1/{endpoint}", headers=confirmed.headers).status_code
        )

    settings.ROOT_URLCONF = urls_now()
    assert asked() == 200
    setattr(settings, name, value)
    settings.ROOT_URLCONF = urls_now()
    assert asked() == 404


class TestARecentProof:
    """R-43: asked for, before one is removed."""

    @pytest.fixture(params=["totp", "webauthn"])
    def remove(self, request, user):
        """Ask to remove it: the status."""
        if request.param == "totp":
            add_totp(user)
            return lambda app: app.ask("DELETE", TOTP)[0]
        number = add_passkey(user).pk
        return lambda app: app.ask("DELETE", WEBAUTHN, authenticators=[number])[0]

    def test_an_app_without_one_removes_none(self, confirmed, remove, clock):
        clock.shift(301)
        assert remove(confirmed) == 401 and Authenticator.objects.count() == 1
        assert confirmed.post("auth/reauthenticate", password=PASSWORD) == 200
        assert remove(confirmed) == 200 and not Authenticator.objects.exists()

    @pytest.mark.parametrize(
        ("add", "page"),
        [
            (add_totp, "/accounts/2fa/totp/deactivate/"),
            (add_passkey, "/accounts/2fa/webauthn/keys/{}/remove/"),
        ],
    )
    def test_a_page_without_one_asks_for_it_first(self, by_password, clock, add, page):
        browser = by_password()
        url = page.format(add(browser.user).pk)
        browser.post(CONFIRM, {"password": PASSWORD})
        clock.shift(301)
        answer = browser.post(url)
        assert target(answer) == CONFIRM and Authenticator.objects.count() == 1
        browser.post(CONFIRM, {"password": PASSWORD})
        assert browser.post(url).status_code == 302 and not Authenticator.objects.exists()
