"""A session by code sets no first password."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth import SESSION_KEY
from django.urls import reverse

from tests.conftest import PASSWORD
from tests.with_allauth.restricted.conftest import PAGE, app_of, is_held, prove

FIRST = "a first good passphrase"


class TestAFirstPassword:
    """R-38: whoever holds the list must not give themself a second way in."""

    @pytest.fixture
    def without(self, totp_user):
        """A user with TOTP and codes, and no password."""
        user, codes = totp_user
        user.set_unusable_password()
        user.save()
        return user, codes

    def test_is_not_set_at_the_page(self, without, by_code):
        user, codes = without
        browser = by_code(user, codes[0])
        url = reverse("account_set_password")
        assert is_held(browser, url)
        answer = browser.post(url, {"password1": FIRST, "password2": FIRST})
        assert answer["Location"] == PAGE
        user.refresh_from_db()
        assert not user.has_usable_password()
        assert "Change your password" not in browser.get(PAGE).content.decode()

    def test_is_not_set_by_a_browser_or_an_app(self, without, by_code):
        user, codes = without
        client, headers = app_of(user, codes[0])
        body = json.dumps({"new_password": FIRST})
        tries = [(by_code(user, codes[1]), "browser", {}), (client, "app", headers)]
        for client, kind, headers in tries:
            url = f"/_allauth/{kind}/v1/account/password/change"
            answer = client.post(url, body, content_type="application/json", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "restricted_session")
        user.refresh_from_db()
        assert not user.has_usable_password()

    def test_is_set_once_the_session_is_free(self, without, by_code):
        user, codes = without
        browser = by_code(user, codes[0])
        prove(browser)
        url, fields = reverse("account_set_password"), {"password1": FIRST, "password2": FIRST}
        assert browser.post(url, fields).status_code == 302
        user.refresh_from_db()
        assert user.check_password(FIRST)

    def test_a_password_is_changed_by_who_knows_it(self, held):
        url = "/_allauth/browser/v1/account/password/change"
        for current, status in (("not it", 400), (PASSWORD, 200)):
            body = json.dumps({"current_password": current, "new_password": FIRST})
            assert held.post(url, body, content_type="application/json").status_code == status
        held.user.refresh_from_db()
        assert held.user.check_password(FIRST)
        assert "Change your password" in held.get(PAGE).content.decode()

    def test_signing_out_of_the_admin_stays_open(self, without, by_code):
        user, codes = without
        user.is_staff = True
        user.save()
        browser = by_code(user, codes[0])
        browser.post(reverse("admin:logout"))
        assert SESSION_KEY not in browser.session
