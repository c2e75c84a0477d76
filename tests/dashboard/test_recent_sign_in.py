"""Changes ask for a recent sign-in where that is set."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from tests.conftest import DASHBOARD, JSON, PASSWORD
from tests.dashboard.conftest import CHANGES, HERE
from tests.owner import rows, set_up, state


class TestRecentSignIn:
    """R-43"""

    @pytest.fixture(autouse=True)
    def max_age(self, settings, clock):
        set_up(settings, REAUTH_MAX_AGE=300)

    def act(self, browser, name, **extra):
        return browser.post(
            reverse(name), {"confirm": "on", "recovery_code": browser.codes[0]}, **extra
        )

    @pytest.mark.parametrize("name", CHANGES)
    def test_a_stale_session_is_sent_to_sign_in_and_changes_nothing(
        self, generated, name, clock, events
    ):
        clock.shift(301)
        before = rows()
        response = self.act(generated, name)
        assert (response.status_code, response.url) == (302, f"/password/?next={DASHBOARD}")
        answer = self.act(generated, name, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (403, "sign_in")
        assert answer.json()["redirect_to"] == f"/password/?next={DASHBOARD}"
        assert rows() == before
        assert events()[-1] == ("reauth.fail", "stale")

    @pytest.mark.parametrize("is_json", [True, False])
    def test_a_sign_in_page_of_another_host_is_told_the_whole_address(
        self, generated, settings, clock, is_json
    ):
        """As Django's own `LoginRequiredMixin` does it."""
        settings.LOGIN_URL = "https://sso.example.org/sign-in"
        clock.shift(301)
        response = self.act(generated, "recovery_generate", headers=JSON if is_json else None)
        target = response.json()["redirect_to"] if is_json else response.url
        assert target == (f"https://sso.example.org/sign-in?next=http%3A//testserver{DASHBOARD}")
        assert target == Client().get(DASHBOARD).url

    @pytest.mark.parametrize("login_url", ["http://testserver/password/", "//testserver/in/"])
    def test_an_absolute_address_of_this_host_gets_the_path(
        self, generated, settings, clock, login_url
    ):
        settings.LOGIN_URL = login_url
        clock.shift(301)
        assert self.act(generated, "recovery_generate").url == f"{login_url}?next={DASHBOARD}"

    def test_a_stale_session_that_tries_on_is_recorded_once_an_hour(
        self, generated, clock, events
    ):
        """R-122"""
        clock.shift(301)
        for _ in range(10):
            self.act(generated, "recovery_delete")
        assert events().count(("reauth.fail", "stale")) == 1
        clock.shift(3600)
        self.act(generated, "recovery_delete")
        assert events().count(("reauth.fail", "stale")) == 2

    @pytest.mark.parametrize("name", CHANGES)
    def test_a_session_of_that_age_still_acts(self, generated, name, clock):
        clock.shift(300)
        response = self.act(generated, name)
        assert "/password/" not in response.headers.get("Location", "")
        assert response.status_code in {200, 302}

    def test_signing_in_by_password_makes_it_fresh(self, user, generated, clock):
        clock.shift(301)
        self.act(generated, "recovery_download")
        generated.post("/password/", {"username": user.username, "password": PASSWORD})
        assert self.act(generated, "recovery_download").status_code == 200

    def test_signing_in_by_code_makes_it_fresh(self, user, generated, clock, post_code):
        clock.shift(301)
        post_code(user.email, generated.codes[1], HERE, client=generated)
        assert self.act(generated, "recovery_invalidate").url == DASHBOARD

    @pytest.mark.parametrize("name", ["recovery_verify_setup", "recovery_saved"])
    def test_what_changes_no_code_does_not_ask(self, generated, name, clock):
        clock.shift(10_000)
        assert "/password/" not in self.act(generated, name).url

    def test_reading_does_not_ask(self, generated, clock):
        clock.shift(10_000)
        assert generated.open().status_code == 200
        assert state(generated) == "none"

    def test_a_session_from_before_the_setting_is_stale(self, generated):
        session = generated.session
        del session["recovery_backend_signed_in_at"]
        session.save()
        assert "/password/" in self.act(generated, "recovery_generate").url

    def test_by_default_no_age_is_asked_for(self, generated, settings, clock):
        set_up(settings, REAUTH_MAX_AGE=None)
        clock.shift(10**6)
        assert self.act(generated, "recovery_delete_all").url == DASHBOARD
