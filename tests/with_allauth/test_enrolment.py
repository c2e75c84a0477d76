"""A new factor leads to codes once, and then back to the page that was wanted."""

from __future__ import annotations

import json

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from django.urls import reverse
from recovery_backend_allauth import added, places

from recovery_backend.models import RecoveryCodeBatch, RecoveryCodeSetup
from tests.conftest import PASSWORD
from tests.with_allauth.conftest import SECRET, add_passkey, add_totp, totp_now

pytestmark = pytest.mark.django_db(transaction=True)

INDEX = "/accounts/2fa/"
ACTIVATE = "/accounts/2fa/totp/activate/"
OFFER = "/auth/recovery-codes/offer/"
CONTINUE = "/auth/recovery-codes/continue/"
DASHBOARD = "/auth/recovery-codes/dashboard/"
WANTED = "/?wanted=1"
WAY_ON = "Continue to where you were going"


@pytest.fixture
def confirmed(user, make_browser):
    """The owner's browser, in which allauth has just been told the password."""
    browser = make_browser(user)
    answer = browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    assert answer.status_code == 302
    return browser


@pytest.fixture
def wanting(confirmed):
    """A browser that wanted a page for which a second factor is needed."""
    session = confirmed.session
    session[places.WANTED] = WANTED
    session.save()
    return confirmed


def activate_totp(browser):
    """As a person does it: the secret is read from the page."""
    secret = browser.get(ACTIVATE).context["form"].secret
    answer = browser.post(ACTIVATE, {"code": totp_now(secret)})
    assert (answer.status_code, answer["Location"]) == (302, INDEX)


def where(answer):
    return answer.status_code, answer.headers.get("Location")


def test_a_new_factor_leads_to_the_offer_once(confirmed):
    activate_totp(confirmed)
    assert where(confirmed.get(INDEX)) == (302, OFFER)
    assert confirmed.get(OFFER).status_code == 200
    assert confirmed.get(INDEX).status_code == 200


def test_the_offer_is_remembered_in_every_session(user, confirmed, make_browser):
    activate_totp(confirmed)
    assert where(confirmed.get(INDEX)) == (302, OFFER)
    Authenticator.objects.all().delete()
    other = make_browser(user)
    other.post("/accounts/reauthenticate/", {"password": PASSWORD})
    activate_totp(other)
    assert other.get(INDEX).status_code == 200


def test_the_offer_generates_by_the_same_form_as_the_dashboard(user, confirmed):
    activate_totp(confirmed)
    page = confirmed.get(INDEX, follow=True)
    assert 'action="/auth/recovery-codes/generate/"' in page.content.decode()
    answer = confirmed.post(reverse("recovery_generate"))
    assert where(answer) == (302, DASHBOARD)
    assert len(confirmed.open().context["plaintext"].codes) == 10
    assert RecoveryCodeBatch.objects.active_of(user) is not None


def test_not_now_is_for_good(user, confirmed):
    activate_totp(confirmed)
    confirmed.get(INDEX)
    assert where(confirmed.post(OFFER)) == (302, INDEX)
    assert confirmed.get(INDEX).status_code == 200
    assert RecoveryCodeSetup.objects.get(user=user).codes_offered_at is not None


def test_a_user_with_codes_is_not_led(user, confirmed, make_codes):
    make_codes(user)
    activate_totp(confirmed)
    assert confirmed.get(INDEX).status_code == 200
    assert not RecoveryCodeSetup.objects.filter(codes_offered_at__isnull=False).exists()
    assert where(confirmed.get(OFFER)) == (302, INDEX)


def test_a_user_whose_codes_are_spent_is_led(user, confirmed, make_codes, try_code):
    [code] = make_codes(user, number_of_codes=1)
    assert try_code(user.email, code) == user
    activate_totp(confirmed)
    assert where(confirmed.get(INDEX)) == (302, OFFER)


def test_nobody_is_led_while_codes_are_turned_off(confirmed, settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
    activate_totp(confirmed)
    assert confirmed.get(INDEX).status_code == 200
    assert where(confirmed.get(OFFER)) == (302, INDEX)


@pytest.mark.parametrize(
    "extra",
    [
        {"headers": {"Accept": "application/json"}},
        {"headers": {"X-Requested-With": "XMLHttpRequest"}},
        {"headers": {"X-Session-Token": "any"}},
        {"headers": {"Authorization": "Bearer any"}},
    ],
)
def test_programs_are_not_led(confirmed, extra):
    activate_totp(confirmed)
    assert confirmed.get(INDEX, **extra).status_code == 200
    assert where(confirmed.get(INDEX)) == (302, OFFER)


def test_only_a_look_at_allauths_pages_leads_on(confirmed):
    activate_totp(confirmed)
    assert confirmed.head(INDEX).status_code == 200
    assert confirmed.get("/").status_code == 200
    assert confirmed.get("/accounts/email/").status_code == 200
    assert where(confirmed.get("/accounts/2fa/webauthn/")) == (302, OFFER)


def test_headless_clients_are_not_led(user, confirmed):
    """Neither then, nor when the same browser opens a page later."""
    url = "/_allauth/browser/v1/account/authenticators/totp"
    secret = confirmed.get(url).json()["meta"]["secret"]
    answer = confirmed.post(
        url, json.dumps({"code": totp_now(secret)}), content_type="application/json"
    )
    assert answer.status_code == 200
    assert Authenticator.objects.filter(user=user, type="totp").exists()
    assert confirmed.get(INDEX).status_code == 200


def test_a_note_of_another_user_leads_nobody(confirmed, make_user):
    activate_totp(confirmed)
    session = confirmed.session
    session[added.KEY] = {**session[added.KEY], "user": str(make_user().pk)}
    session.save()
    assert confirmed.get(INDEX).status_code == 200


@pytest.mark.parametrize("request_", [None, object()], ids=["none", "without a session"])
def test_a_factor_added_outside_of_a_browser_is_no_error(user, request_):
    added.note(None, request=request_, user=user, authenticator=add_totp(user))


def test_whoever_wanted_a_page_skips_and_goes_there(wanting):
    activate_totp(wanting)
    assert where(wanting.get(INDEX)) == (302, OFFER)
    assert where(wanting.post(OFFER)) == (302, WANTED)
    assert WAY_ON not in wanting.get(INDEX).content.decode()


def test_whoever_wanted_a_page_is_shown_the_way_on_beside_the_codes(wanting):
    activate_totp(wanting)
    wanting.get(INDEX)
    wanting.post(reverse("recovery_generate"))
    page = wanting.open().content.decode()
    assert WAY_ON in page and "Save your codes first." in page
    wanting.send("recovery_saved")
    page = wanting.open().content.decode()
    assert WAY_ON in page and "Save your codes first." not in page
    assert where(wanting.get(CONTINUE)) == (302, WANTED)
    assert WAY_ON not in wanting.open().content.decode()
    assert where(wanting.get(CONTINUE)) == (302, INDEX)


def test_with_codes_the_new_factor_leads_back_at_once(user, wanting, make_codes):
    make_codes(user)
    activate_totp(wanting)
    assert where(wanting.get(INDEX)) == (302, WANTED)
    assert wanting.get(INDEX).status_code == 200


def test_the_way_on_waits_for_the_factor(wanting):
    assert WAY_ON not in wanting.get(INDEX).content.decode()
    assert WAY_ON not in wanting.open().content.decode()


def test_a_passkey_user_may_go_on(user, wanting):
    add_passkey(user)
    assert WAY_ON in wanting.get(INDEX).content.decode()


@pytest.mark.parametrize(
    "url", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"]
)
def test_nobody_is_led_to_another_site(user, confirmed, url):
    session = confirmed.session
    session[places.WANTED] = url
    session.save()
    add_totp(user, SECRET)
    assert WAY_ON not in confirmed.get(INDEX).content.decode()
    assert where(confirmed.get(CONTINUE)) == (302, INDEX)


@pytest.mark.parametrize("url", [OFFER, CONTINUE])
def test_strangers_sign_in_first(client, url):
    assert where(client.get(url)) == (302, f"/accounts/login/?next={url}")


def test_skipping_needs_a_token(user):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    assert strict.post(OFFER).status_code == 403
    assert not RecoveryCodeSetup.objects.exists()


def test_the_offer_is_not_kept_by_any_cache(confirmed):
    assert "no-store" in confirmed.get(OFFER)["Cache-Control"]


@pytest.fixture
def without_middleware(settings):
    settings.MIDDLEWARE = [
        name for name in settings.MIDDLEWARE if "recovery_backend_allauth" not in name
    ]


def test_without_the_middleware_the_panel_still_invites(without_middleware, confirmed):
    activate_totp(confirmed)
    page = confirmed.get(INDEX)
    assert page.status_code == 200
    assert "Generate codes" in page.content.decode()


def test_without_our_urls_the_index_still_opens(confirmed, settings):
    activate_totp(confirmed)
    settings.ROOT_URLCONF = "tests.with_allauth.urls_without_offer"
    assert confirmed.get(INDEX).status_code == 200
