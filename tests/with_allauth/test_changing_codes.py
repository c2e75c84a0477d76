"""R-43: who has a second factor proves it before codes change; a code of one's own proves nothing."""

from __future__ import annotations

import time

import pytest
from django.urls import reverse

from recovery_backend.models import RecoveryCodeAudit, RecoveryCodeBatch
from recovery_backend_allauth import added
from tests.conftest import LOGIN, PASSWORD, Browser
from tests.with_allauth.conftest import AUTHENTICATE, REAUTHENTICATE, add_totp, totp_now

pytestmark = pytest.mark.django_db

CHANGES = (
    "recovery_generate",
    "recovery_download",
    "recovery_email",
    "recovery_invalidate",
    "recovery_delete",
    "recovery_delete_all",
)


@pytest.fixture
def by_password(make_user):
    """A browser that signed in by password before its user had a second factor."""
    user, browser = make_user(), Browser()
    browser.post(reverse("account_login"), {"login": user.username, "password": PASSWORD})
    assert browser.session["_auth_user_id"] == str(user.pk)
    return user, browser


@pytest.mark.parametrize("name", CHANGES)
def test_a_session_that_has_proven_a_password_alone_changes_nothing(by_password, name):
    user, browser = by_password
    add_totp(user)
    answer = browser.send(name, confirm="on")
    assert answer.status_code == 302
    assert answer["Location"].startswith(f"{REAUTHENTICATE}?next=")
    assert not RecoveryCodeBatch.objects.exists()


def test_its_programs_are_told_why(by_password):
    user, browser = by_password
    add_totp(user)
    answer = browser.send_json("recovery_generate", confirm="on")
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_required")
    row = RecoveryCodeAudit.objects.get(event="recovery.reauth.fail")
    assert (row.reason, row.user) == ("unproven", user)


def test_no_one_makes_a_code_to_prove_themselves_by(by_password):
    """A session stolen before its owner added a second factor does not become one with it."""
    user, browser = by_password
    add_totp(user)
    browser.send("recovery_generate", confirm="on")
    assert browser.open().context["plaintext"] is None


def test_the_proof_opens_it(by_password):
    user, browser = by_password
    add_totp(user)
    browser.post(REAUTHENTICATE, {"code": totp_now()})
    assert len(browser.generate()) == 10


def test_a_user_without_a_second_factor_is_asked_for_none(by_password):
    _user, browser = by_password
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


@pytest.mark.django_db(transaction=True)
class TestAddedFactor:
    def add(self, browser):
        browser.post(reverse("account_reauthenticate"), {"password": PASSWORD})
        page = browser.get(reverse("mfa_activate_totp"))
        code = totp_now(page.context["form"].secret)
        assert browser.post(reverse("mfa_activate_totp"), {"code": code}).status_code == 302

    def test_who_adds_a_factor_goes_on_to_codes(self, by_password):
        _user, browser = by_password
        self.add(browser)
        assert len(browser.generate()) == 10

    def test_not_for_ever(self, by_password):
        _user, browser = by_password
        self.add(browser)
        session = browser.session
        session[added.KEY] = {**session[added.KEY], "at": time.time() - added.SECONDS - 1}
        session.save()
        answer = browser.send("recovery_generate", confirm="on")
        assert answer["Location"].startswith(REAUTHENTICATE)

    def test_not_in_another_session(self, by_password):
        user, browser = by_password
        other = Browser()
        other.post(reverse("account_login"), {"login": user.username, "password": PASSWORD})
        self.add(browser)
        assert other.send("recovery_generate", confirm="on").status_code == 302
        assert not RecoveryCodeBatch.objects.exists()

