"""The pages over HTTP: the same answers in HTML and JSON."""

from __future__ import annotations

import html
import itertools
import re
from datetime import timedelta

import pytest
from django.contrib.auth.signals import user_login_failed
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from recovery_backend.codes import PresentedCode
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.urls import urlpatterns
from recovery_backend.views.page import waiting_text
from tests.conftest import DASHBOARD, LOGIN, WRONG_CODE

LOGOUT = "/auth/recovery-codes/logout/"
PASSWORD = "correct horse"
JSON = {"Accept": "application/json"}
REFUSED = "This did not work."
PAGES = [pattern.name for pattern in urlpatterns]
LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"
OURS = "recovery_backend.middleware.RecoveryCodeMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"


def usable(user):
    return RecoveryCode.objects.usable().of_user(user).count()


def is_signed_in(client):
    return "_auth_user_id" in client.session


def masked(response, *typed):
    """The body without what differs by design: the CSRF token and the echoed address."""
    body = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "csrf", response.text)
    for text in typed:
        body = body.replace(html.escape(text), "typed")
    return body


def headers_of(response):
    return {name: value for name, value in response.headers.items() if name != "Content-Length"}


@pytest.fixture
def post_json(client):
    def post(email, code, address="198.51.100.7", **extra):
        data = {"email": email, "recovery_code": code, **extra}
        return client.post(LOGIN, data, REMOTE_ADDR=address, headers=JSON)

    return post


class TestSignIn:
    def test_the_page_asks_for_an_address_and_a_code(self, db, client):
        """R-130"""
        response = client.get(LOGIN)
        assert response.status_code == 200
        assert [template.name for template in response.templates][0] == (
            "recovery_backend/login.html"
        )
        for part in ('name="email"', 'name="recovery_code"', "csrfmiddlewaretoken"):
            assert part in response.text
        assert 'name="password"' not in response.text
        assert 'autocomplete="one-time-code"' in response.text

    def test_a_code_leads_to_the_dashboard(self, user, codes, client, post_code):
        response = post_code(user.email, codes[0])
        assert (response.status_code, response.url) == (302, DASHBOARD)
        assert client.session["_auth_user_id"] == str(user.pk)
        assert usable(user) == 2

    def test_the_session_says_how_it_began(self, user, codes, client, post_code, clock):
        """R-37"""
        post_code(user.email, codes[0])
        assert client.session["recovery_backend"] == {
            "method": "recovery_code",
            "at": timezone.now().isoformat(timespec="seconds"),
        }

    def test_a_used_code_does_not_sign_in_again(self, user, codes, client, post_code):
        """R-21"""
        post_code(user.email, codes[0])
        other = Client()
        response = post_code(user.email, codes[0], client=other)
        assert response.status_code == 200 and REFUSED in response.text
        assert not is_signed_in(other)

    @pytest.mark.parametrize("target", ["", "no_such_view"])
    def test_a_redirect_setting_that_names_no_page_keeps_nobody_out(
        self, user, codes, post_code, client, settings, target
    ):
        settings.DJANGO_AUTH_RECOVERY_CODE_REDIRECT_VIEW = target
        response = post_code(user.email, codes[0])
        assert (response.status_code, response["Location"]) == (302, "/")
        assert "_auth_user_id" in client.session

    def test_where_to_go_is_a_setting(self, user, codes, post_code, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_REDIRECT_VIEW = "home"
        assert post_code(user.email, codes[0]).url == "/"
        settings.DJANGO_AUTH_RECOVERY_CODE_REDIRECT_VIEW = "/some/path/"
        assert post_code(user.email, codes[1]).url == "/some/path/"

    def test_a_refusal_keeps_the_address_and_never_the_code(self, user, codes, post_code):
        """R-85, R-132"""
        response = post_code(user.email, WRONG_CODE)
        assert response.status_code == 200
        assert f'value="{user.email}"' in response.text
        assert "AAAAAA" not in response.text
        assert 'role="alert"' in response.text

    @pytest.mark.parametrize(
        ("email", "code"), [("", WRONG_CODE), ("owner@example.com", ""), ("", ""), ("owner", "x")]
    )
    def test_an_empty_field_costs_nothing(self, db, post_code, post_json, email, code):
        response = post_code(email, code)
        assert response.status_code == 200 and REFUSED not in response.text
        answer = post_json(email, code)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
        assert not RecoveryCodeCooldown.objects.exists()

    def test_of_a_repeated_field_the_last_one_counts(self, user, codes, client):
        response = client.post(
            LOGIN,
            {"email": ["x@example.com", user.email], "recovery_code": [WRONG_CODE, codes[0]]},
        )
        assert response.status_code == 302

    @pytest.mark.parametrize(
        "data",
        [
            {"email": "\x00", "recovery_code": "\x00"},
            {"email": "a\x00@example.com", "recovery_code": WRONG_CODE},
            {"email": "\u202e@example.com", "recovery_code": "\u200b" * 100},
            {"email": "x" * 100_000, "recovery_code": "x" * 100_000},
            {"email": "owner@example.com", "recovery_code": "x" * 1_000_000},
            {"email": "owner@example.com", "recovery_code": "%s{}"},
            {"next": "/"},
            {},
        ],
    )
    def test_hostile_input_is_answered_and_never_a_500(self, user, codes, client, data):
        response = client.post(LOGIN, data)
        assert response.status_code == 200
        assert not is_signed_in(client)
        assert usable(user) == 3

    def test_raw_bytes_are_answered(self, user, client):
        body = b"email=\xff\xfe@example.com&recovery_code=\xed\xa0\x80"
        kind = "application/x-www-form-urlencoded"
        assert client.post(LOGIN, body, content_type=kind).status_code == 200
        assert client.post(LOGIN, b"{}", content_type="application/json").status_code == 200

    def test_ten_megabytes_are_refused_by_django(self, user, client):
        response = client.post(LOGIN, {"email": user.email, "recovery_code": "x" * 10 * 1024**2})
        assert response.status_code == 400

    @pytest.mark.parametrize("address", ["", "unknown", "::ffff:1.2.3.4", "1.2.3.4:80"])
    def test_an_odd_peer_address_signs_in(self, user, codes, post_code, address):
        """R-54"""
        assert post_code(user.email, codes[0], address).status_code == 302

    def test_receivers_of_a_failure_get_no_code(self, user, post_code):
        """R-28"""
        heard = []

        def receiver(credentials, **kwargs):
            heard.append(credentials)

        user_login_failed.connect(receiver)
        try:
            post_code(user.email, WRONG_CODE)
        finally:
            user_login_failed.disconnect(receiver)
        [credentials] = heard
        assert isinstance(credentials["recovery_code"], PresentedCode)
        assert "AAAAAA" not in repr(credentials)

    def test_with_a_failing_database_nobody_gets_in(self, user, codes, post_code, monkeypatch):
        """R-31"""

        def broken(*args, **kwargs):
            raise OperationalError("gone")

        with monkeypatch.context() as patched:
            patched.setattr("recovery_backend.models.RecoveryCode.spend", broken)
            response = post_code(user.email, codes[0])
        assert response.status_code == 200 and REFUSED in response.text
        assert "gone" not in response.text
        assert usable(user) == 3


class TestNext:
    """R-94"""

    @pytest.mark.parametrize("method", ["POST", "GET"])
    @pytest.mark.parametrize(
        "target",
        [
            "https://evil.example",
            "http://evil.example/auth/",
            "//evil.example",
            "///evil.example",
            "////evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "\\/evil.example",
            "http:\\\\evil.example",
            "https:evil.example",
            "http:///evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://testserver/",
            "\t//evil.example",
            "\x08//evil.example",
            " //evil.example",
            "https://testserver@evil.example",
            "https://testserver.evil.example",
            "//testserver\\@evil.example",
        ],
    )
    def test_an_unsafe_target_is_dropped(self, user, codes, client, target, method):
        data = {"email": user.email, "recovery_code": codes[0]}
        if method == "POST":
            response = client.post(LOGIN, {**data, "next": target})
        else:
            response = client.post(LOGIN, data, query_params={"next": target})
        assert (response.status_code, response.url) == (302, DASHBOARD)
        shown = client.get(LOGIN, {"next": target}).text
        assert 'name="next"' not in shown

    @pytest.mark.parametrize("target", ["/", "/admin/?q=1", "/path/#part", "http://testserver/a/"])
    def test_a_target_of_this_site_is_followed(self, user, codes, client, post_code, target):
        assert f'name="next" value="{target}"' in client.get(LOGIN, {"next": target}).text
        assert post_code(user.email, codes[0], next=target).url == target

    def test_a_refusal_keeps_the_target(self, user, post_code):
        assert 'name="next" value="/admin/"' in (
            post_code(user.email, WRONG_CODE, next="/admin/").text
        )


class TestSession:
    """R-32: a new session key in every case."""

    def begin(self, client, user=None):
        if user:
            client.force_login(user)
        session = client.session
        session["cart"] = "kept"
        session.save()
        client.cookies["sessionid"] = session.session_key
        return session.session_key

    def test_an_anonymous_session_gets_a_new_key(self, user, codes, client, post_code):
        before = self.begin(client)
        post_code(user.email, codes[0])
        assert client.session.session_key != before
        assert client.session["cart"] == "kept"
        assert not client.session.exists(before)

    def test_the_same_users_session_gets_a_new_key(self, user, codes, client, post_code):
        before = self.begin(client, user)
        assert post_code(user.email, codes[0]).status_code == 302
        assert client.session.session_key != before
        assert (
            client.session["_auth_user_backend"] == "recovery_backend.backends.RecoveryCodeBackend"
        )
        assert not client.session.exists(before)

    def test_another_users_session_is_emptied(self, user, codes, client, post_code, make_user):
        before = self.begin(client, make_user())
        post_code(user.email, codes[0])
        assert client.session.session_key != before
        assert client.session["_auth_user_id"] == str(user.pk)
        assert "cart" not in client.session

    def test_the_csrf_token_is_new_too(self, user, codes, client, post_code):
        client.get(LOGIN)
        before = client.cookies["csrftoken"].value
        post_code(user.email, codes[0])
        assert client.cookies["csrftoken"].value != before

    def test_a_refusal_leaves_the_session_alone(self, user, client, post_code, make_user):
        other = make_user()
        before = self.begin(client, other)
        post_code(user.email, WRONG_CODE)
        assert client.session.session_key == before
        assert client.session["_auth_user_id"] == str(other.pk)


class TestAccess:
    def test_under_login_required_middleware_the_login_page_is_open(
        self, user, codes, client, post_code, settings
    ):
        """R-96"""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, LOGIN_REQUIRED]
        assert client.get(LOGIN).status_code == 200
        response = client.get(DASHBOARD)
        assert (response.status_code, response.url) == (302, f"/password/?next={DASHBOARD}")
        assert post_code(user.email, codes[0]).status_code == 302
        assert client.get(DASHBOARD).status_code == 200
        assert client.post(LOGOUT).status_code == 302

    @pytest.mark.parametrize("headers", [{}, JSON])
    def test_anonymous_people_go_to_the_login_url(self, db, client, headers):
        response = client.get(DASHBOARD, headers=headers)
        assert (response.status_code, response.url) == (302, f"/password/?next={DASHBOARD}")

    @pytest.mark.parametrize(
        ("path", "allowed"), [(LOGIN, {"GET", "POST"}), (LOGOUT, {"POST"}), (DASHBOARD, {"GET"})]
    )
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"])
    def test_other_methods_are_405(self, user, client, path, allowed, method):
        """R-98"""
        client.force_login(user)
        response = client.generic(method, path)
        assert (response.status_code == 405) is (method not in allowed)
        if method not in allowed:
            assert allowed <= set(response["Allow"].split(", "))
            assert is_signed_in(client)

    @pytest.mark.parametrize("path", [LOGIN, DASHBOARD])
    def test_head_and_options_change_nothing(self, user, codes, client, path):
        """R-98"""
        client.force_login(user)
        assert client.head(path).status_code == 200
        assert client.options(path).status_code == 200
        assert usable(user) == 3 and is_signed_in(client)

    @pytest.mark.parametrize("path", [LOGIN, LOGOUT])
    @pytest.mark.parametrize("has_middleware", [True, False])
    @pytest.mark.parametrize("headers", [{}, JSON])
    def test_a_post_needs_its_csrf_token(
        self, user, codes, settings, path, has_middleware, headers
    ):
        """R-91"""
        if not has_middleware:
            settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != CSRF]
        client = Client(enforce_csrf_checks=True)
        client.force_login(user)
        data = {"email": user.email, "recovery_code": codes[0]}
        assert client.post(path, data, headers=headers).status_code == 403
        assert usable(user) == 3 and is_signed_in(client)

    def test_a_post_with_its_token_passes(self, user, codes):
        """R-91"""
        client = Client(enforce_csrf_checks=True)
        page = client.get(LOGIN).text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
        data = {"email": user.email, "recovery_code": codes[0], "csrfmiddlewaretoken": token}
        assert client.post(LOGIN, data).status_code == 302

    @pytest.mark.parametrize("has_middleware", [True, False])
    def test_every_answer_is_private_unframed_and_unsniffed(
        self, user, codes, client, post_code, post_json, settings, has_middleware
    ):
        """R-75, R-92"""
        if not has_middleware:
            settings.MIDDLEWARE = [
                name
                for name in settings.MIDDLEWARE
                if "Session" in name or "Authentication" in name or "Message" in name
            ]
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 2
        answers = [
            client.get(LOGIN),
            post_code(user.email, WRONG_CODE),
            post_json("other@example.com", WRONG_CODE),
            post_code(user.email, codes[0], "203.0.113.50"),
            client.get(DASHBOARD),
            post_code(user.email, WRONG_CODE),
            post_code(user.email, WRONG_CODE),
            post_code(user.email, WRONG_CODE),
            client.post(LOGOUT),
            client.get(DASHBOARD),
        ]
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
        answers.append(client.get(LOGIN))
        assert {answer.status_code for answer in answers} >= {200, 302, 400, 403, 429}
        for answer in answers:
            assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))
            assert {"Cookie", "Accept"} <= set(answer["Vary"].split(", "))
            assert answer["X-Frame-Options"] == "DENY"
            assert answer["X-Content-Type-Options"] == "nosniff"
            assert answer["Referrer-Policy"] == "same-origin"

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("is_signed_in", [True, False])
    @pytest.mark.parametrize("name", PAGES)
    def test_every_page_is_private_and_isolated(
        self, user, browser, client, name, is_signed_in, headers
    ):
        """R-75, R-100: answers, redirects, refusals and wrong methods alike."""
        browser.send("recovery_generate")
        visitor = browser if is_signed_in else client
        data = {"recovery_code": WRONG_CODE}
        answers = [
            visitor.get(reverse(name), headers=headers),
            visitor.put(reverse(name), headers=headers),
            visitor.post(reverse(name), data, headers=headers),
            visitor.post(reverse(name), {**data, "confirm": "on"}, headers=headers),
        ]
        for answer in answers:
            assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))
            assert {"Cookie", "Accept"} <= set(answer["Vary"].split(", "))
            assert answer["X-Frame-Options"] == "DENY"
            assert answer["X-Content-Type-Options"] == "nosniff"
            assert answer["Referrer-Policy"] == "same-origin"
            assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer["Cross-Origin-Resource-Policy"] == "same-origin"

    def test_a_page_that_has_to_wait_is_private_too(self, browser, settings):
        """R-75"""
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "1/m"
        browser.send("recovery_generate")
        for headers in ({}, JSON):
            answer = browser.post(reverse("recovery_download"), headers=headers)
            assert answer.status_code == 429
            assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))
            assert answer["Cross-Origin-Resource-Policy"] == "same-origin"

    def test_signing_out_clears_what_the_browser_cached(self, browser, client):
        """R-89"""
        assert browser.post(LOGOUT)["Clear-Site-Data"] == '"cache"'
        assert "Clear-Site-Data" not in browser.get(LOGIN).headers
        assert client.post(LOGOUT)["Clear-Site-Data"] == '"cache"'

    def test_logging_out_is_a_post_and_leads_back(self, user, client, settings):
        client.force_login(user)
        response = client.post(LOGOUT)
        assert (response.status_code, response.url) == (302, LOGIN)
        assert not is_signed_in(client)
        settings.DJANGO_AUTH_RECOVERY_CODE_REDIRECT_VIEW_AFTER_LOGOUT = "home"
        assert client.post(LOGOUT).url == "/"

    def test_what_was_typed_is_escaped(self, user, codes, post_code, settings):
        """R-99"""
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "1/m"
        post_code(user.email, WRONG_CODE)
        evil = '"><script>alert(1)</script>'
        settings.DJANGO_AUTH_RECOVERY_CODES_SITE_NAME = evil
        for response in (post_code(evil, WRONG_CODE), post_code(evil, "", "203.0.113.50")):
            assert "<script>alert" not in response.text
            assert "&lt;script&gt;alert" in response.text


class TestSecondFactor:
    """LOGIN_MODE "second_factor": the password too (R-35)."""

    @pytest.fixture(autouse=True)
    def second_factor(self, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "second_factor"

    def test_the_page_asks_for_the_password(self, db, client):
        assert 'name="password"' in client.get(LOGIN).text

    def test_password_and_code_sign_in(self, user, codes, client, post_code, events):
        assert post_code(user.email, codes[0], password=PASSWORD).url == DASHBOARD
        assert client.session["_auth_user_id"] == str(user.pk)
        assert client.session["_auth_user_backend"].endswith("ModelBackend")
        assert usable(user) == 2
        assert events()[1:] == [("login.success", "")]

    def test_a_code_alone_is_not_enough(self, user, codes, client, post_code):
        response = post_code(user.email, codes[0])
        assert response.status_code == 200
        assert not is_signed_in(client) and usable(user) == 3

    def test_a_wrong_password_spends_no_code(self, user, codes, client, post_code, events):
        response = post_code(user.email, codes[0], password="wrong")
        assert REFUSED in response.text
        assert not is_signed_in(client) and usable(user) == 3
        assert events()[1:] == [("login.fail", "password")]
        assert post_code(user.email, codes[0], password=PASSWORD).status_code == 302

    def test_the_right_password_with_a_wrong_code_is_refused(
        self, user, codes, client, post_code, events
    ):
        assert REFUSED in post_code(user.email, WRONG_CODE, password=PASSWORD).text
        assert not is_signed_in(client)
        assert events()[1:] == [("login.fail", "unknown")]

    def test_another_accounts_password_does_not_count(
        self, user, codes, client, make_user, post_code
    ):
        make_user("other@example.com", password="another horse")
        assert REFUSED in post_code(user.email, codes[0], password="another horse").text
        assert REFUSED in post_code("other@example.com", codes[0], password="another horse").text
        assert not is_signed_in(client) and usable(user) == 3

    def test_an_unknown_address_is_refused_alike(self, user, codes, post_code):
        """R-26"""
        unknown = post_code("nobody@example.com", WRONG_CODE, password=PASSWORD)
        wrong = post_code(user.email, WRONG_CODE, password=PASSWORD)
        bad_password = post_code(user.email, codes[0], "203.0.113.50", password="wrong")
        texts = {
            masked(response, user.email, "nobody@example.com")
            for response in (unknown, wrong, bad_password)
        }
        assert len(texts) == 1

    def test_an_inactive_account_is_refused(self, user, codes, client, post_code):
        """R-23"""
        user.is_active = False
        user.save()
        assert REFUSED in post_code(user.email, codes[0], password=PASSWORD).text
        assert not is_signed_in(client) and usable(user) == 3

    def test_wrong_passwords_are_throttled(self, user, codes, post_code, clock):
        """R-50"""
        for _ in range(5):
            post_code(user.email, codes[0], password="wrong")
        assert post_code(user.email, codes[0], password=PASSWORD).status_code == 429
        assert usable(user) == 3

    @pytest.mark.parametrize(
        "target",
        [
            "recovery_backend.cooldown._locked_rows",
            "recovery_backend.models.codes.RecoveryCodeQuerySet.presented",
            "recovery_backend.models.RecoveryCode.spend",
            "recovery_backend.audit.record",
        ],
    )
    def test_with_a_failing_database_nobody_gets_in(
        self, user, codes, client, post_code, monkeypatch, target
    ):
        """R-31"""

        def broken(*args, **kwargs):
            raise OperationalError("gone")

        with monkeypatch.context() as patched:
            patched.setattr(target, broken)
            response = post_code(user.email, codes[0], password=PASSWORD)
        assert REFUSED in response.text
        assert not is_signed_in(client) and usable(user) == 3
        assert post_code(user.email, codes[0], password=PASSWORD).status_code == 302

    def test_the_password_is_not_echoed(self, user, post_code):
        assert (
            "battery staple"
            not in post_code(user.email, WRONG_CODE, password="battery staple").text
        )

    def test_the_session_key_is_new(self, user, codes, client, post_code):
        """R-32"""
        client.force_login(user)
        before = client.session.session_key
        post_code(user.email, codes[0], password=PASSWORD)
        assert client.session.session_key != before


class TestOff:
    """LOGIN_MODE "off" (R-35)."""

    @pytest.fixture(autouse=True)
    def off(self, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"

    def test_the_page_is_closed(self, user, codes, client, post_code):
        for response in (client.get(LOGIN), post_code(user.email, codes[0])):
            assert response.status_code == 403
            assert "turned off" in response.text
            assert "recovery_code" not in response.text
        assert usable(user) == 3 and not is_signed_in(client)

    def test_json_says_so_too(self, user, codes, client, post_json):
        for response in (client.get(LOGIN, headers=JSON), post_json(user.email, codes[0])):
            assert (response.status_code, response.json()["code"]) == (403, "off")


class TestJson:
    def test_a_code_gets_the_address_to_go_to(self, user, codes, client, post_json):
        response = post_json(user.email, codes[0])
        assert response.status_code == 200
        assert response.json() == {"redirect_to": DASHBOARD}
        assert is_signed_in(client)

    def test_a_wrong_code_gets_a_400(self, user, client, post_json):
        response = post_json(user.email, WRONG_CODE)
        assert response.status_code == 400
        assert response.json()["code"] == "refused"
        assert response.json()["detail"].startswith(REFUSED)
        assert not is_signed_in(client)

    def test_the_last_free_try_says_how_long_the_next_one_waits(self, user, post_json, clock):
        answers = [post_json(user.email, WRONG_CODE).json() for _ in range(5)]
        assert [answer.get("wait_seconds") for answer in answers] == [None] * 4 + [60]

    def test_html_is_the_answer_when_both_are_welcome(self, user, client):
        for accept in ("*/*", "text/html,application/json;q=0.9", ""):
            response = client.get(LOGIN, headers={"Accept": accept})
            assert response["Content-Type"].startswith("text/html")


@pytest.fixture
def attempts(user, codes, make_user, make_codes):
    """Address and code, one pair for every reason to refuse them."""
    expired, inactive, other = make_user(), make_user(), make_user()
    expired_codes = make_codes(expired)
    RecoveryCode.objects.of_user(expired).update(expires_at=timezone.now() - timedelta(seconds=1))
    inactive_codes = make_codes(inactive)
    inactive.is_active = False
    inactive.save()
    used = codes[0]
    RecoveryCode.objects.filter(digest__in=PresentedCode(used).digests()).update(status="used")
    old = codes[1]
    new = make_codes(user)
    return {
        "unknown e-mail": ("nobody@example.com", WRONG_CODE),
        "right code, unknown e-mail": ("nobody@example.com", new[0]),
        "wrong": (user.email, WRONG_CODE),
        "malformed": (user.email, "not a code"),
        "used": (user.email, used),
        "superseded": (user.email, old),
        "foreign": (other.email, new[1]),
        "expired": (expired.email, expired_codes[0]),
        "inactive": (inactive.email, inactive_codes[0]),
    }


class TestSameAnswer:
    """R-26: nobody learns what was wrong."""

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("has_waited_for", [0, 4])
    def test_every_refusal_is_the_same(self, attempts, statements, clock, headers, has_waited_for):
        networks = (f"10.0.0.{number}" for number in itertools.count(1))
        answers, costs = set(), set()
        for email, code in attempts.values():
            RecoveryCodeCooldown.objects.all().delete()
            network = next(networks)
            client = Client(REMOTE_ADDR=network)
            for _ in range(has_waited_for):
                client.post(LOGIN, {"email": email, "recovery_code": WRONG_CODE}, headers=headers)
            with statements() as queries:
                response = client.post(
                    LOGIN, {"email": email, "recovery_code": code}, headers=headers
                )
            answers.add((response.status_code, masked(response, email), str(headers_of(response))))
            costs.add(len(queries))
        assert len(answers) == 1
        assert len(costs) == 1

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("has_middleware", [True, False])
    def test_every_refusal_while_waiting_is_the_same(
        self, attempts, settings, statements, clock, headers, has_middleware
    ):
        """R-56, R-57"""
        if not has_middleware:
            settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != OURS]
        attempts["right"] = ("owner@example.com", attempts["right code, unknown e-mail"][1])
        networks = (f"10.0.0.{number}" for number in itertools.count(1))
        answers, costs = set(), set()
        left = RecoveryCode.objects.usable().count()
        for email, code in attempts.values():
            client = Client(REMOTE_ADDR=next(networks))
            for _ in range(5):
                client.post(LOGIN, {"email": email, "recovery_code": WRONG_CODE})
            with statements() as queries:
                response = client.post(
                    LOGIN, {"email": email, "recovery_code": code}, headers=headers
                )
            answers.add((response.status_code, masked(response, email), str(headers_of(response))))
            costs.add(len(queries))
        [(status, _, _)] = answers
        assert status == 429
        assert len(costs) == 1
        assert RecoveryCode.objects.usable().count() == left


class TestWaiting:
    """R-59"""

    @pytest.fixture
    def wait(self, user, codes, post_code, clock):
        for _ in range(5):
            post_code(user.email, WRONG_CODE)

    def test_a_client_that_has_to_wait_gets_a_429(self, user, codes, wait, post_code, clock):
        clock.shift(18)
        response = post_code(user.email, codes[0])
        assert (response.status_code, response["Retry-After"]) == (429, "42")
        assert "Wait 42 seconds" in response.text
        assert f'value="{user.email}"' in response.text
        assert codes[0] not in response.text

    def test_json_says_it_in_seconds(self, user, codes, wait, post_json):
        response = post_json(user.email, codes[0])
        assert (response.status_code, response["Retry-After"]) == (429, "60")
        assert response.json() == {
            "code": "cooldown",
            "detail": "Too many tries. Wait 1 minute.",
            "wait_seconds": 60,
        }

    def test_the_fifth_refusal_says_how_long_to_wait(self, user, post_code, clock):
        pages = [post_code(user.email, WRONG_CODE) for _ in range(5)]
        assert {page.status_code for page in pages} == {200}
        assert ["data-wait-seconds" in page.text for page in pages] == [False] * 4 + [True]
        assert 'data-wait-seconds="60"' in pages[-1].text

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("rate", ["60/m", "5/m"])
    def test_with_and_without_the_middleware_the_answer_is_the_same(
        self, user, codes, settings, client, clock, headers, rate
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = rate
        data = {"email": user.email, "recovery_code": codes[0]}
        for _ in range(6):
            client.post(LOGIN, {**data, "recovery_code": WRONG_CODE})
        early = client.post(LOGIN, data, headers=headers)
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != OURS]
        late = client.post(LOGIN, data, headers=headers)
        assert early.status_code == late.status_code == 429
        assert masked(early) == masked(late)
        assert headers_of(early) == headers_of(late)
        assert usable(user) == 3

    def test_after_the_wait_the_code_signs_in(self, user, codes, wait, post_code, clock):
        clock.shift(60)
        assert post_code(user.email, codes[0]).status_code == 302

    def test_another_network_is_free(self, user, codes, wait, post_code):
        """R-57"""
        assert post_code(user.email, codes[0], "203.0.113.50").status_code == 302

    def test_the_page_itself_can_be_read(self, wait, client):
        assert client.get(LOGIN).status_code == 200

    def test_other_pages_are_free(self, user, wait, client):
        """R-61"""
        response = client.post("/password/", {"username": "owner", "password": PASSWORD})
        assert response.status_code == 302
        assert client.get(DASHBOARD).status_code == 200

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (61, "2 minutes"),
            (3600, "60 minutes"),
        ],
    )
    def test_a_waiting_time_is_rounded_up(self, seconds, text):
        assert waiting_text(seconds) == text


class TestDashboard:
    @pytest.fixture
    def dashboard(self, user, client):
        def dashboard():
            client.force_login(user)
            return client.get(DASHBOARD).text

        return dashboard

    def test_without_codes_it_says_so(self, dashboard):
        assert "You have no codes yet" in dashboard()

    def test_it_says_who_is_in_and_how_many_are_left(self, user, make_codes, dashboard, try_code):
        plain_codes = make_codes(user, number_of_codes=10)
        try_code(user.email, plain_codes[0])
        text = dashboard()
        assert user.email in text
        assert re.search(r"<strong>9</strong>\s+of 10 codes left", text)
        assert "running low" not in text
        assert not any(code in text for code in plain_codes)

    @pytest.mark.parametrize(("left", "is_low"), [(4, False), (3, True), (1, True)])
    def test_it_warns_when_few_are_left(self, user, make_codes, dashboard, left, is_low):
        """R-41"""
        make_codes(user, number_of_codes=left)
        assert ("running low" in dashboard()) is is_low

    def test_the_warning_is_a_setting(self, user, make_codes, dashboard, settings):
        make_codes(user, number_of_codes=4)
        settings.DJANGO_AUTH_RECOVERY_CODES_LOW_CODES_WARNING = 4
        assert "running low" in dashboard()
        settings.DJANGO_AUTH_RECOVERY_CODES_LOW_CODES_WARNING = 0
        assert "running low" not in dashboard()

    def test_it_says_when_none_is_left(self, user, make_codes, dashboard, try_code):
        [code] = make_codes(user, number_of_codes=1)
        try_code(user.email, code)
        assert "no codes left" in dashboard()

    def test_it_says_when_they_have_expired(self, user, make_codes, dashboard, clock):
        make_codes(user, days_to_expire=1)
        assert "have expired" not in dashboard()
        clock.shift(timedelta(days=1))
        assert "have expired" in dashboard()

    def test_other_peoples_codes_do_not_show(self, user, make_user, make_codes, dashboard):
        """R-97"""
        make_codes(make_user())
        assert "You have no codes yet" in dashboard()

    def test_an_old_batch_does_not_count(self, user, make_codes, dashboard):
        make_codes(user, number_of_codes=10)
        make_codes(user, number_of_codes=5)
        assert re.search(r"<strong>5</strong>\s+of 5 codes left", dashboard())
        assert RecoveryCodeBatch.objects.count() == 2

    def test_an_account_without_an_address_shows_its_name(self, user, dashboard):
        user.email = ""
        user.save()
        assert "owner" in dashboard()


@pytest.mark.django_db(transaction=True)
def test_a_charge_outlives_the_request_also_under_atomic_requests(
    make_user, post_code, monkeypatch, client
):
    """R-51: an error after the charge does not take it back."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    def broken(*args, **kwargs):
        raise RuntimeError("a fault after the charge")

    monkeypatch.setattr("recovery_backend.views.LoginView.render_to_response", broken)
    client.raise_request_exception = False
    user = make_user()
    assert post_code(user.email, WRONG_CODE).status_code == 500
    assert RecoveryCodeCooldown.objects.filter(failures=1).count() == 2
