"""Which sessions are held, and that asking costs the others nothing."""

from __future__ import annotations

from django.contrib.auth import SESSION_KEY
from django.urls import reverse
from recovery_backend_allauth import restricted

from recovery_backend.models import RecoveryCodeAudit
from tests.conftest import LOGIN, PASSWORD, Browser
from tests.with_allauth.conftest import totp_now
from tests.with_allauth.restricted.conftest import is_held


class TestWhoIsHeld:
    def test_a_user_with_totp_who_came_by_code(self, held, events):
        assert is_held(held)
        assert ("session.restricted", "") in events()
        assert events().count(("session.restricted", "")) == 1

    def test_a_user_with_a_passkey_who_came_by_code(self, passkey_user, by_code):
        user, codes = passkey_user
        assert is_held(by_code(user, codes[0]))

    def test_nobody_without_a_factor(self, user, codes, by_code, events):
        assert not is_held(by_code(user, codes[0]))
        assert ("session.restricted", "") not in events()

    def test_nobody_who_used_password_and_code(self, totp_user, before_step):
        user, codes = totp_user
        browser = before_step(user)
        browser.post("/accounts/2fa/authenticate/", {"code": codes[0]})
        assert browser.session[SESSION_KEY] == str(user.pk)
        assert not is_held(browser)

    def test_two_codes_are_one_factor(self, totp_user):
        user, codes = totp_user
        browser = Browser()
        browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        browser.post("/accounts/2fa/reauthenticate/", {"code": codes[1]})
        assert browser.session[SESSION_KEY] == str(user.pk)
        assert is_held(browser)

    def test_nobody_who_proves_totp_at_the_second_step(self, settings, totp_user):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        browser.post("/accounts/2fa/authenticate/", {"code": totp_now()})
        assert browser.session[SESSION_KEY] == str(user.pk)
        assert not is_held(browser)

    def test_an_abandoned_try_by_code_does_not_restrict_a_later_sign_in(self, settings, totp_user):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        login = {"username": user.username, "password": PASSWORD}
        browser.post("/_allauth/browser/v1/auth/login", login, content_type="application/json")
        browser.post("/accounts/2fa/authenticate/", {"code": codes[1]})
        assert browser.session[SESSION_KEY] == str(user.pk)
        assert not is_held(browser)

    def test_nor_one_by_the_sign_in_of_django_which_records_no_step(self, settings, totp_user):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        browser.post("/password/", {"username": user.username, "password": PASSWORD})
        assert browser.session[SESSION_KEY] == str(user.pk)
        assert not is_held(browser)

    def test_nobody_while_sessions_are_full(self, settings, totp_user, by_code):
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "full"
        user, codes = totp_user
        browser = by_code(user, codes[0])
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
        assert not is_held(browser)

    def test_nobody_any_more_once_the_site_turns_to_full(self, settings, held):
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "full"
        assert not is_held(held)

    def test_another_user_inherits_nothing(self, held, make_user, make_codes, by_code):
        other = make_user()
        [code, *_] = make_codes(other)
        assert not is_held(by_code(other, code, browser=held))

    def test_another_user_put_into_the_session_is_not_held(self, held, make_user):
        held.force_login(make_user(username="other"))
        assert not is_held(held)

    def test_a_session_after_signing_out_is_not_held(self, held):
        held.post(reverse("recovery_logout"))
        assert held.get("/ordinary/").content == b"opened"


class TestCosts:
    """R-150"""

    def test_nothing_while_sessions_are_full(self, settings, rf, django_assert_num_queries):
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "full"
        with django_assert_num_queries(0):
            assert restricted.answer(rf.get("/")) is None  # which has no session at all

    def test_no_user_is_loaded_for_a_session_that_is_not_restricted(
        self, user, make_browser, statements
    ):
        browser = make_browser(user)
        with statements() as sql:
            browser.get("/unnamed/")
        assert len(sql) == 1 and "django_session" in sql[0]

    def test_nothing_for_a_stranger(self, client, django_assert_num_queries):
        with django_assert_num_queries(0):
            client.get("/unnamed/")


def test_rows_name_the_owner_and_the_client(held):
    row = RecoveryCodeAudit.objects.get(event="recovery.session.restricted")
    assert (row.user, row.actor, row.address) == (held.user, held.user, "127.0.0.1")


def test_whether_a_request_is_restricted_can_be_asked(held, rf, make_user):
    request = rf.get("/")
    request.session, request.user = held.session, held.user
    assert restricted.holds(request)
    request.user = make_user()
    assert not restricted.holds(request)
