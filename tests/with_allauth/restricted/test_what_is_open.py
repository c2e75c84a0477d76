"""A session that is held opens what repairs the account, and nothing else."""

from __future__ import annotations

import re

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.conftest import JSON
from tests.with_allauth.restricted.conftest import PAGE, is_held

CLOSED = [
    "/",
    "/ordinary/",
    "/unnamed/",
    "/called/logout/",
    "/static/app.css",
    "/media/secret.txt",
    "/accounts/2fa/looks-open/",
    "/accounts//2fa/",
    "/ordinary%2F",
    "/%6Frdinary/",
    "/asynchronous/",
    "/api/",
    "/admin/",
    "/admin/login/",
    "/admin/jsi18n/",
    "/accounts/email/",
    "/accounts/signup/",
    "/_allauth/browser/v1/account/email",
    "/_allauth/browser/v1/auth/sessions",
]


METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")


class TestWhatIsClosed:
    """TM-15"""

    @pytest.mark.parametrize("url", CLOSED)
    def test_whatever_does_not_repair(self, held, url):
        held.user.is_staff = held.user.is_superuser = True
        held.user.save()
        for method in METHODS:
            answer = held.generic(method, url, headers=JSON)
            assert answer.status_code == 403, method
            assert method == "HEAD" or answer.json()["code"] == "restricted_session"
            assert "no-store" in answer["Cache-Control"]

    def test_people_are_led_to_the_page_that_says_what_to_do(self, held):
        for method in (held.get, held.head, held.post, held.put, held.options):
            answer = method("/ordinary/")
            assert (answer.status_code, answer["Location"]) == (302, PAGE)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Accept": "application/json"},
            {"X-Requested-With": "XMLHttpRequest"},
            {"Content-Type": "application/json"},
            {"Authorization": "Bearer nothing"},
        ],
    )
    def test_programs_are_told_why(self, held, headers):
        answer = held.get("/ordinary/", headers=headers)
        assert answer.status_code == 403
        assert answer.json()["code"] == "restricted_session" and answer.json()["detail"]

    def test_headless_endpoints_answer_programs_only(self, held):
        answer = held.get("/_allauth/browser/v1/account/email")
        assert (answer.status_code, answer.json()["code"]) == (403, "restricted_session")

    def test_every_url_of_the_site_that_does_not_repair(self, held, settings):
        """Of all views, those pass that the list of repair names, and no other."""
        passed = {name for name, url in crawl(get_resolver()) if not refused(held, url)}
        assert passed == REPAIRS, passed ^ REPAIRS

    def test_the_same_under_asgi(self, held):
        client = AsyncClient()
        client.cookies = held.cookies
        for url in ("/asynchronous/", "/ordinary/"):
            answer = async_to_sync(client.get)(url, headers=JSON)
            assert answer.status_code == 403


# By name, what the crawl may pass; each was looked at.
REPAIRS = {
    "account_change_password",
    "account_confirm_login_code",
    "account_inactive",
    "account_login",
    "account_logout",
    "account_reauthenticate",
    "account_request_login_code",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "account_set_password",
    "admin:logout",
    "headless:app:tokens:refresh",
    "leave",  # it inherits from a way out
    "login_user",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_authenticate",
    "mfa_deactivate_totp",
    "mfa_edit_webauthn",
    "mfa_index",
    "mfa_list_webauthn",
    "mfa_login_webauthn",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
    "mfa_remove_webauthn",
    "recovery_continue",
    "recovery_dashboard",
    "recovery_delete",
    "recovery_delete_all",
    "recovery_download",
    "recovery_email",
    "recovery_email_status",
    "recovery_events",
    "recovery_generate",
    "recovery_invalidate",
    "recovery_logout",
    "recovery_offer",
    "recovery_restricted",
    "recovery_saved",
    "recovery_verify_setup",
    *(
        f"headless:{client}:{name}"
        for client in ("app", "browser")
        for name in (
            "config",
            "account:change_password",
            "account:confirm_login_code",
            "account:current_session",
            "account:login",
            "account:reauthenticate",
            "account:request_login_code",
            "account:request_password_reset",
            "account:resend_login_code",
            "account:reset_password",
            "mfa:authenticate",
            "mfa:authenticate_webauthn",
            "mfa:authenticators",
            "mfa:login_webauthn",
            "mfa:manage_totp",
            "mfa:manage_webauthn",
            "mfa:reauthenticate",
            "mfa:reauthenticate_webauthn",
        )
    ),
}


VALUES = {"pk": "1", "object_id": "1", "app_label": "auth", "content_type_id": "1"}


def crawl(resolver, prefix="", namespace=""):
    """The name and a path of each view below a resolver."""
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern).lstrip("^")
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from crawl(pattern, route, inner)
        elif isinstance(pattern, URLPattern):
            yield namespace + (pattern.name or route), "/" + filled(route)


def filled(route):
    """A path that matches a route."""
    route = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: VALUES.get(match[1], "1"), route)
    route = re.sub(r"\(\?P1(?:[^()]|\([^()]*\))*\)", "1", route)
    return route.replace("$", "").replace("\\Z", "")


def refused(browser, url):
    answer = browser.generic("OPTIONS", url, headers=JSON)
    return answer.status_code == 403 and b"restricted_session" in answer.content


def test_the_admin_stays_closed_for_a_superuser(held):
    held.user.is_staff = held.user.is_superuser = True
    held.user.save()
    assert is_held(held, "/admin/")
    assert is_held(held, reverse("admin:auth_user_changelist"))
