"""R-43: who has a second factor proves it before codes change; a code of one's own proves nothing."""

from __future__ import annotations

import time

import pytest
from allauth.account.signals import authentication_step_completed
from django.test import RequestFactory
from django.urls import reverse
from recovery_backend_allauth import added

from recovery_backend.models import RecoveryCodeAudit, RecoveryCodeBatch
from tests.conftest import DASHBOARD, LOGIN, PASSWORD, Browser
from tests.with_allauth.conftest import AUTHENTICATE, REAUTHENTICATE, step, totp_now

pytestmark = pytest.mark.django_db

CHANGES = (
    "recovery_generate",
    "recovery_download",
    "recovery_email",
    "recovery_invalidate",
    "recovery_delete",
    "recovery_delete_all",
)


@pytest.mark.parametrize("name", CHANGES)
def test_a_session_that_has_proven_a_password_alone_changes_nothing(unproven, name):
    answer = unproven.send(name, confirm="on")
    assert answer.status_code == 302
    assert answer["Location"].startswith(f"{REAUTHENTICATE}?next=")
    assert not RecoveryCodeBatch.objects.exists()


def test_its_programs_are_told_why(unproven):
    answer = unproven.send_json("recovery_generate", confirm="on")
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_required")
    row = RecoveryCodeAudit.objects.get(event="recovery.reauth.fail")
    assert (row.reason, row.user) == ("unproven", unproven.user)


def test_no_one_makes_a_code_to_prove_themselves_by(unproven):
    """A session stolen before its owner added a second factor does not become one with it."""
    unproven.send("recovery_generate", confirm="on")
    assert unproven.open().context["plaintext"] is None


def test_the_proof_opens_it(unproven):
    unproven.post(REAUTHENTICATE, {"code": totp_now()})
    assert len(unproven.generate()) == 10


def test_a_user_without_a_second_factor_is_asked_for_none(by_password):
    browser = by_password()
    assert len(browser.generate()) == 10


def test_who_came_by_code_may_get_new_ones(totp_user):
    user, codes = totp_user
    browser = Browser()
    browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
    assert len(browser.generate()) == 10


def test_who_used_a_code_at_the_second_step_may_get_new_ones(totp_user, before_step):
    user, codes = totp_user
    browser = before_step(user)
    browser.post(AUTHENTICATE, {"code": codes[0]})
    assert len(browser.generate()) == 10


class TestLater:
    """A proof, and a sign-in by code, open the codes for a while: a session can be stolen since."""

    LONG_AGO = added.SECONDS + 60

    def is_asked(self, browser):
        answer = browser.send("recovery_generate", confirm="on")
        return answer.status_code == 302 and answer["Location"].startswith(REAUTHENTICATE)

    def test_an_old_proof_opens_nothing(self, totp_user, browser_with):
        user, _codes = totp_user
        old = browser_with(
            user, step("password", ago=self.LONG_AGO), step("mfa", "totp", ago=self.LONG_AGO)
        )
        assert self.is_asked(old)
        assert RecoveryCodeBatch.objects.count() == 1

    def test_nor_an_old_sign_in_by_code(self, totp_user, browser_with):
        user, _codes = totp_user
        by_code = step("mfa", "recovery_codes", passwordless=True, ago=self.LONG_AGO)
        assert self.is_asked(browser_with(user, by_code))

    def test_a_new_proof_opens_it_again(self, totp_user, browser_with):
        user, _codes = totp_user
        browser = browser_with(user, step("mfa", "webauthn", ago=self.LONG_AGO))
        browser.post(REAUTHENTICATE, {"code": totp_now()})
        assert len(browser.generate()) == 10

    def test_the_site_may_set_the_time(self, totp_user, browser_with, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_REAUTH_MAX_AGE = 60
        user, _codes = totp_user
        assert self.is_asked(browser_with(user, step("mfa", "webauthn", ago=61)))


class TestRecentSignIn:
    """REAUTH_MAX_AGE with allauth: whoever confirms that it is them has as good as signed in."""

    @pytest.fixture(autouse=True)
    def within_ten_minutes(self, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_REAUTH_MAX_AGE = 600

    def age(self, browser):
        session = browser.session
        session["recovery_backend_signed_in_at"] = time.time() - 601
        session.save()

    def test_a_user_with_a_password_alone_gives_it_again(self, by_password):
        browser = by_password()
        self.age(browser)
        answer = browser.send("recovery_generate", confirm="on")
        asked = f"{reverse('account_reauthenticate')}?next=%2Fauth%2Frecovery-codes%2Fdashboard%2F"
        assert answer["Location"] == asked
        assert browser.post(asked, {"password": PASSWORD})["Location"] == DASHBOARD
        assert len(browser.generate()) == 10

    def test_a_user_with_a_second_factor_proves_that(self, totp_user, browser_with):
        browser = browser_with(totp_user[0], step("password"), step("mfa", "totp"))
        self.age(browser)
        answer = browser.send("recovery_generate", confirm="on")
        assert answer["Location"].startswith(REAUTHENTICATE)
        browser.post(REAUTHENTICATE, {"code": totp_now()})
        assert len(browser.generate()) == 10

    def test_a_user_with_neither_signs_in_anew(self, by_password):
        browser = by_password()
        browser.user.set_unusable_password()
        browser.user.save()
        browser.force_login(browser.user)
        self.age(browser)
        answer = browser.send("recovery_generate", confirm="on")
        assert answer["Location"].startswith(reverse("account_login"))

    def test_the_proof_of_another_user_renews_nothing(self, by_password, make_user):
        browser = by_password()
        self.age(browser)
        old = browser.session["recovery_backend_signed_in_at"]
        request = RequestFactory().get("/")
        request.user, request.session = browser.user, browser.session
        other = make_user()
        authentication_step_completed.send(
            sender=type(other), request=request, user=other, method="password"
        )
        assert request.session["recovery_backend_signed_in_at"] == old


@pytest.mark.django_db(transaction=True)
class TestAddedFactor:
    def add(self, browser):
        browser.post(reverse("account_reauthenticate"), {"password": PASSWORD})
        page = browser.get(reverse("mfa_activate_totp"))
        code = totp_now(page.context["form"].secret)
        assert browser.post(reverse("mfa_activate_totp"), {"code": code}).status_code == 302

    def test_who_adds_a_factor_goes_on_to_codes(self, by_password):
        browser = by_password()
        self.add(browser)
        assert len(browser.generate()) == 10

    def test_not_for_ever(self, by_password):
        browser = by_password()
        self.add(browser)
        session = browser.session
        session[added.KEY] = {**session[added.KEY], "at": time.time() - added.SECONDS - 1}
        session.save()
        answer = browser.send("recovery_generate", confirm="on")
        assert answer["Location"].startswith(REAUTHENTICATE)

    def test_not_in_another_session(self, by_password):
        browser = by_password()
        other = Browser()
        other.post(
            reverse("account_login"), {"login": browser.user.username, "password": PASSWORD}
        )
        self.add(browser)
        assert other.send("recovery_generate", confirm="on").status_code == 302
        assert not RecoveryCodeBatch.objects.exists()
