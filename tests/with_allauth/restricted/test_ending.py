"""What frees a session that is held, what does not, and when its time is over."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.urls import reverse

from tests.conftest import DASHBOARD, JSON, PASSWORD, Browser
from tests.with_allauth.conftest import REAUTHENTICATE, add_passkey, add_totp
from tests.with_allauth.restricted.conftest import add_factor, is_held, prove

NEW_SECRET = "KRSXG5CTMVRXEZLU"


class TestHowItEnds:
    def test_with_totp_that_is_proven_in_this_session(self, held, events):
        assert prove(held)["Location"] == "/ordinary/"
        assert not is_held(held)
        assert events().count(("session.lifted", "")) == 1

    def test_not_with_password_and_another_code(self, held):
        """R-37: both were known before, or are of the list that was found."""
        held.post("/accounts/reauthenticate/", {"password": PASSWORD})
        assert held.post(REAUTHENTICATE, {"code": held.codes[1]}).status_code == 302
        assert is_held(held)

    def test_with_a_factor_that_is_added_in_this_session(self, held, committed, events):
        held.post(REAUTHENTICATE, {"code": held.codes[1]})
        with committed():
            held.post(reverse("mfa_deactivate_totp"))
        assert not Authenticator.objects.filter(user=held.user).exists()
        assert is_held(held), "removing all factors lifts nothing"
        with committed():
            assert add_factor(held).status_code == 302
        assert not is_held(held)
        assert events().count(("session.lifted", "")) == 1

    def test_not_with_a_factor_that_is_added_elsewhere(self, held, committed):
        Authenticator.objects.filter(user=held.user, type="totp").delete()
        elsewhere = Browser()
        elsewhere.post("/accounts/login/", {"login": held.user.username, "password": PASSWORD})
        elsewhere.post("/accounts/reauthenticate/", {"password": PASSWORD})
        with committed():
            assert add_factor(elsewhere).status_code == 302
        assert Authenticator.objects.filter(user=held.user, type="totp").exists()
        assert is_held(held)

    def test_not_when_the_factor_is_rolled_back(self, held):
        held.post(REAUTHENTICATE, {"code": held.codes[1]})
        Authenticator.objects.filter(user=held.user).delete()
        add_factor(held)  # never committed here
        assert is_held(held)

    def test_not_with_a_change_of_the_password(self, held):
        new = "another good passphrase"
        fields = {"oldpassword": PASSWORD, "password1": new, "password2": new}
        assert held.post(reverse("account_change_password"), fields).status_code == 302
        held.user.refresh_from_db()
        assert held.user.check_password(new)
        assert is_held(held)

    def test_not_with_another_code(self, held, by_code, clock, events):
        """Its time is absolute: a further code does not prolong it."""
        clock.shift(3000)
        by_code(held.user, held.codes[1], browser=held)
        assert is_held(held)
        clock.shift(601)
        assert held.get(DASHBOARD)["Location"].startswith("/accounts/login/")
        assert events().count(("session.restricted", "")) == 1


class TestItsTime:
    def test_it_ends_after_its_age_whatever_is_opened(self, held, clock, settings, events):
        settings.DJANGO_AUTH_RECOVERY_CODES_RESTRICTED_SESSION_AGE = 600
        clock.shift(598)
        assert held.get(DASHBOARD).status_code == 200
        clock.shift(2)
        answer = held.get(DASHBOARD, follow=True)
        assert "Your session has ended." in answer.content.decode()
        assert SESSION_KEY not in held.session
        assert held.get("/ordinary/").content == b"opened"  # as nobody
        assert events().count(("session.expired", "")) == 1

    def test_programs_get_401(self, held, clock):
        clock.shift(3601)
        answer = held.get("/ordinary/", headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (401, "session_expired")

    def test_a_second_request_of_the_same_moment_records_nothing_more(self, held, clock, events):
        twin = Browser()
        twin.cookies = held.cookies.copy()
        row = Session.objects.get(pk=held.session.session_key)
        clock.shift(3601)
        held.get(DASHBOARD)
        row.save()  # as if it had been read before
        twin.get(DASHBOARD)
        assert events().count(("session.expired", "")) == 1


def test_a_factor_of_another_user_frees_nobody(held, make_user, committed):
    with committed():
        add_passkey(make_user())
        add_totp(make_user(), NEW_SECRET)
    assert is_held(held)
