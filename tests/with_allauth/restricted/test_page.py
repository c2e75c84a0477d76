"""The page of a session that is held: what is left to do."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth import SESSION_KEY
from django.urls import reverse

from tests.conftest import DASHBOARD, Browser
from tests.with_allauth.conftest import totp_now
from tests.with_allauth.restricted.conftest import PAGE, is_held, prove


class TestThePage:
    def test_it_says_what_is_left_to_do_and_leads_back(self, held):
        held.get("/ordinary/?page=2")
        page = held.get(PAGE).content.decode()
        assert "You have 60 minutes for this." in page
        assert "A recovery code is not enough here." in page
        assert "/accounts/2fa/reauthenticate/?next=%2Fordinary%2F%3Fpage%3D2" in page
        assert "You have 2 codes left." in page

    def test_it_asks_for_a_new_factor_where_there_is_none(self, held):
        Authenticator.objects.filter(user=held.user).delete()
        page = held.get(PAGE).content.decode()
        assert "Add a second factor" in page and "Confirm that it is you" not in page

    def test_afterwards_it_leads_on(self, held):
        held.get("/ordinary/?page=2")
        prove(held)
        page = held.get(PAGE).content.decode()
        assert "Nothing is closed to you." in page and "You have 60 minutes" not in page
        assert held.get(reverse("recovery_continue"))["Location"] == "/ordinary/?page=2"

    def test_a_picture_that_is_refused_is_not_where_one_wanted_to_go(self, held):
        held.get("/ordinary/?page=2")
        held.get("/static/app.css", headers={"Sec-Fetch-Dest": "style"})
        assert "page%3D2" in held.get(PAGE).content.decode()

    def test_whoever_came_otherwise_is_led_away(self, user, make_browser):
        assert make_browser(user).get(PAGE)["Location"] == DASHBOARD

    def test_strangers_sign_in_first(self, client):
        assert client.get(PAGE)["Location"].startswith("/accounts/login/")

    def test_other_sessions_end_on_request(self, totp_user, before_step, by_code):
        """R-42"""
        user, codes = totp_user
        thief = before_step(user)
        thief.post("/accounts/2fa/authenticate/", {"code": totp_now()})
        assert UserSession.objects.filter(user=user).count() == 1
        held = by_code(user, codes[0])
        assert "signed in in 1 other place" in held.get(PAGE).content.decode()
        answer = held.post(PAGE, follow=True)
        assert "You are signed out everywhere else." in answer.content.decode()
        assert SESSION_KEY not in thief.session
        assert SESSION_KEY in held.session and is_held(held)

    def test_ending_other_sessions_needs_a_token(self, totp_user, by_code):
        user, codes = totp_user
        browser = by_code(user, codes[0], browser=Browser(enforce_csrf_checks=False))
        browser.handler.enforce_csrf_checks = True
        assert browser.post(PAGE).status_code == 403
