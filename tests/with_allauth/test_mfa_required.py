"""`@mfa_required` on every kind of view, for every kind of session."""

from __future__ import annotations

import base64
import sys
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import reverse
from django.views import View
from recovery_backend_allauth.decorators import mfa_required
from rest_framework.decorators import api_view
from rest_framework.views import APIView

from recovery_backend.models import RecoveryCode
from tests.conftest import JSON, PASSWORD, Browser
from tests.with_allauth.conftest import (
    AUTHENTICATE,
    REAUTHENTICATE,
    add_passkey,
    add_totp,
    methods_of,
    step,
    totp_now,
)
from tests.with_allauth.protected_views import API_VIEWS, VIEWS
from tests.with_allauth.test_proofs import CARRIERS, access_token, session_token

pytestmark = pytest.mark.django_db

PROTECTED = "/protected/{}/".format
PASSWORD_STEP = step("password")
CODE_SIGN_IN = step("mfa", "recovery_codes", passwordless=True)
PROVEN = {
    "TOTP": [PASSWORD_STEP, step("mfa", "totp")],
    "passkey alone": [step("mfa", "webauthn", passwordless=True)],
    "code": [PASSWORD_STEP, step("mfa", "recovery_codes")],
    "social account, code": [step("socialaccount"), step("mfa", "recovery_codes")],
    "e-mail and code, TOTP": [CODE_SIGN_IN, step("mfa", "totp", reauthenticated=True)],
}
UNPROVEN = {
    "no record": [],
    "password": [PASSWORD_STEP],
    "password twice": [PASSWORD_STEP, step("password", reauthenticated=True)],
    "social account": [step("socialaccount")],
    "e-mail and code": [CODE_SIGN_IN],
    "e-mail and code, code": [CODE_SIGN_IN, step("mfa", "recovery_codes")],
    "TOTP to come": [PASSWORD_STEP, step("mfa", "totp", ago=-86400)],
    "malformed": [None, {}, {"method": "mfa"}, PASSWORD_STEP],
}
STALE = [step("password", ago=4000), step("mfa", "totp", ago=4000), step("password")]
FRESH = ("fresh", "fresh-class", "api-fresh")
LATER = ("later-function", "later-class", "later-method")


@pytest.fixture
def enrolled(user):
    add_totp(user)
    return user


def to_proof(path, page=REAUTHENTICATE):
    return f"{page}?next={path.replace('/', '%2F')}"


def to_password(path):
    return to_proof(path, "/accounts/reauthenticate/")


@pytest.mark.parametrize("name", VIEWS)
class TestPages:
    """R-37, with Django's own views."""

    @pytest.mark.parametrize("steps", PROVEN.values(), ids=PROVEN)
    def test_a_proven_second_factor_opens(self, name, steps, enrolled, browser_with):
        answer = browser_with(enrolled, *steps).get(PROTECTED(name))
        assert (answer.status_code, answer.text) == (200, "owner")

    @pytest.mark.parametrize("steps", UNPROVEN.values(), ids=UNPROVEN)
    def test_one_factor_is_led_to_the_second(self, name, steps, enrolled, browser_with):
        answer = browser_with(enrolled, *steps).get(PROTECTED(name))
        assert answer.status_code == 302
        assert answer["Location"] in (to_proof(PROTECTED(name)), to_password(PROTECTED(name)))
        assert "no-store" in answer["Cache-Control"]

    @pytest.mark.parametrize("steps", UNPROVEN.values(), ids=UNPROVEN)
    def test_a_program_is_told_why(self, name, steps, enrolled, browser_with):
        answer = browser_with(enrolled, *steps).get(PROTECTED(name), headers=JSON)
        assert answer.status_code == 403 and answer.json()["code"] == "mfa_required"
        assert "no-store" in answer["Cache-Control"]

    def test_people_without_a_factor_are_led_to_enrol(self, name, user, browser_with):
        browser = browser_with(user, PASSWORD_STEP)
        answer = browser.get(PROTECTED(name))
        assert (answer.status_code, answer["Location"]) == (302, reverse("mfa_index"))
        assert browser.session["recovery_backend_wanted"] == PROTECTED(name)

    def test_programs_without_a_factor_are_told_so(self, name, user, browser_with):
        answer = browser_with(user, PASSWORD_STEP).get(PROTECTED(name), headers=JSON)
        assert answer.status_code == 403 and answer.json()["code"] == "mfa_enrolment_required"

    def test_nobody_is_led_to_sign_in(self, name, client):
        answer = client.get(PROTECTED(name) + "?a=1&b=2")
        wanted = PROTECTED(name) + "%3Fa%3D1%26b%3D2"
        assert answer.status_code == 302
        assert answer["Location"] == f"/accounts/login/?next={wanted}"
        answer = client.get(PROTECTED(name), headers=JSON)
        assert answer.status_code == 401 and answer.json()["code"] == "not_authenticated"

    @pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS)
    def test_a_token_signs_nobody_in(self, name, carry, enrolled, browser_with):
        headers = carry(browser_with(enrolled, *PROVEN["TOTP"]))
        assert Client().get(PROTECTED(name), headers=headers).status_code == 401

    @pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS)
    def test_the_token_of_another_user_opens_nothing(
        self, name, carry, enrolled, make_user, browser_with
    ):
        browser = browser_with(enrolled, PASSWORD_STEP)
        headers = carry(browser_with(make_user(), *PROVEN["TOTP"]))
        assert browser.get(PROTECTED(name), headers=headers).status_code == 403

    def test_the_age_of_the_proof(self, name, enrolled, browser_with):
        answer = browser_with(enrolled, *STALE).get(PROTECTED(name))
        assert answer.status_code == (302 if name in FRESH else 200)

    def test_the_same_under_asgi(self, name, enrolled, browser_with):
        def ask(*steps, **headers):
            client = AsyncClient()
            client.cookies = browser_with(enrolled, *steps).cookies
            return async_to_sync(client.get)(PROTECTED(name), headers=headers)

        assert ask(*PROVEN["TOTP"]).text == "owner"
        assert ask(PASSWORD_STEP)["Location"] == to_proof(PROTECTED(name))
        assert ask(CODE_SIGN_IN, **JSON).status_code == 403
        assert async_to_sync(AsyncClient().get)(PROTECTED(name)).status_code == 302

    def test_an_asynchronous_view_stays_one(self, name):
        assert iscoroutinefunction(VIEWS[name]) == (name in LATER)


@pytest.mark.parametrize("name", API_VIEWS)
class TestAPI:
    """R-37, with the views of Django REST framework."""

    CARRIERS = {"cookie": None, **CARRIERS}

    @pytest.fixture(params=CARRIERS.values(), ids=CARRIERS)
    def ask(self, request, name, browser_with):
        def ask(user, *steps):
            browser = browser_with(user, *steps)
            if request.param is None:
                return browser.get(PROTECTED(name))
            return Client().get(PROTECTED(name), headers=request.param(browser))

        return ask

    @pytest.mark.parametrize("steps", PROVEN.values(), ids=PROVEN)
    def test_a_proven_second_factor_opens(self, steps, enrolled, ask):
        answer = ask(enrolled, *steps)
        assert (answer.status_code, answer.json()) == (200, {"name": "owner"})

    @pytest.mark.parametrize("steps", UNPROVEN.values(), ids=UNPROVEN)
    def test_one_factor_does_not(self, steps, enrolled, ask):
        answer = ask(enrolled, *steps)
        assert answer.status_code == 403
        assert answer.json()["code"] == "mfa_required" and answer.json()["detail"]

    def test_without_a_factor_it_says_so(self, user, ask):
        answer = ask(user, PASSWORD_STEP)
        assert answer.status_code == 403 and answer.json()["code"] == "mfa_enrolment_required"

    def test_the_age_of_the_proof(self, name, enrolled, ask):
        assert ask(enrolled, *STALE).status_code == (403 if name in FRESH else 200)

    def test_nobody_is_told_so(self, name, client):
        answer = client.get(PROTECTED(name))
        assert answer.status_code in (401, 403)  # as the first authentication class wants it
        assert answer.json()["code"] == "not_authenticated"

    @pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS)
    def test_a_user_is_never_served_by_the_proof_of_another(
        self, name, carry, enrolled, make_user, browser_with
    ):
        stranger = make_user(username="stranger")
        carry = carry or session_token
        weak, strong = (
            browser_with(enrolled, PASSWORD_STEP),
            browser_with(stranger, *PROVEN["TOTP"]),
        )
        # The token comes before the cookie here, and names who is served.
        answer = weak.get(PROTECTED(name), headers=carry(strong))
        assert answer.json() == {"name": "stranger"}
        answer = strong.get(PROTECTED(name), headers=carry(weak))
        assert (answer.status_code, answer.json()["code"]) == (403, "mfa_required")

    def test_a_session_that_has_ended_proves_nothing(self, name, enrolled, browser_with):
        browser = browser_with(enrolled, *PROVEN["TOTP"])
        headers = access_token(browser)
        browser.logout()
        assert Client().get(PROTECTED(name), headers=headers).status_code == 403

    def test_a_password_with_each_request_proves_nothing(self, name, enrolled, browser_with):
        word = base64.b64encode(f"owner:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {word}"}
        answer = Client().get(PROTECTED(name), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "mfa_required")

    def test_the_same_under_asgi(self, name, enrolled, browser_with):
        def ask(*steps):
            headers = session_token(browser_with(enrolled, *steps))
            return async_to_sync(AsyncClient().get)(PROTECTED(name), headers=headers)

        assert ask(*PROVEN["TOTP"]).status_code == 200
        assert ask(PASSWORD_STEP).status_code == 403


class TestJourneys:
    """Through allauth's pages, and back."""

    URL = PROTECTED("function")

    @pytest.fixture
    def at_the_door(self, totp_user, before_step):
        """A browser in which a code was given at sign-in, and the codes that are left."""
        user, codes = totp_user
        browser = before_step(user)
        assert browser.post(AUTHENTICATE, {"code": codes[0]}).status_code == 302
        return browser, codes[1:]

    def test_a_code_at_sign_in_opens(self, at_the_door):
        browser, _ = at_the_door
        assert browser.get(self.URL).status_code == 200

    def test_a_password_sign_in_from_before_the_factor_is_asked_for_it(self, user, client):
        data = {"login": "owner", "password": PASSWORD}
        client.post(reverse("account_login"), data)
        add_totp(user)
        answer = client.get(self.URL)
        assert answer["Location"] == to_proof(self.URL)
        proven = client.post(answer["Location"], {"code": totp_now()})
        assert proven["Location"] == self.URL
        assert client.get(self.URL).status_code == 200

    def test_a_recovery_code_confirms_as_well(self, totp_user, browser_with):
        user, codes = totp_user
        browser = browser_with(user, PASSWORD_STEP)
        answer = browser.post(browser.get(self.URL)["Location"], {"code": codes[0]})
        assert answer["Location"] == self.URL
        assert browser.get(self.URL).status_code == 200

    def test_a_password_leads_back_to_the_second_factor(self, enrolled, browser_with):
        browser = browser_with(enrolled, PASSWORD_STEP)
        page = reverse("account_reauthenticate") + f"?next={self.URL}"
        assert browser.post(page, {"password": PASSWORD})["Location"] == self.URL
        assert browser.get(self.URL)["Location"] == to_proof(self.URL)

    def test_a_stale_proof_is_asked_for_again(self, enrolled, browser_with, clock):
        url = PROTECTED("fresh")
        browser = browser_with(enrolled, PASSWORD_STEP)
        for _ in range(2):
            answer = browser.get(url)
            assert answer["Location"] == to_proof(url)
            assert browser.post(answer["Location"], {"code": totp_now()}).status_code == 302
            assert browser.get(url).status_code == 200
            clock.shift(3700)

    def test_passkey_users_come_to_the_passkey(self, user, browser_with):
        add_passkey(user)
        answer = browser_with(user, PASSWORD_STEP).get(self.URL)
        assert answer["Location"] == to_proof(self.URL, reverse("mfa_reauthenticate_webauthn"))

    def test_passkey_users_with_codes_come_to_the_field_for_codes(
        self, passkey_user, browser_with
    ):
        user, codes = passkey_user
        browser = browser_with(user, PASSWORD_STEP)
        answer = browser.get(self.URL)
        assert answer["Location"] == to_proof(self.URL)
        assert browser.post(answer["Location"], {"code": codes[0]}).status_code == 302
        assert browser.get(self.URL).status_code == 200

    def test_codes_alone_are_no_factor(self, user, codes, browser_with):
        answer = browser_with(user, PASSWORD_STEP).get(self.URL)
        assert answer["Location"] == reverse("mfa_index")

    def test_after_e_mail_and_code_a_second_code_does_not_open(self, totp_user, client, settings):
        """R-37: nor does each round cost one more code."""
        user, codes = totp_user
        data = {"email": user.email, "recovery_code": codes[0]}
        assert client.post(reverse("login_user"), data).status_code == 302
        answer = client.get(self.URL)
        assert answer["Location"] == to_proof(self.URL)
        assert client.post(answer["Location"], {"code": codes[1]})["Location"] == self.URL
        answer = client.get(self.URL)
        assert answer["Location"] == to_password(self.URL)
        client.post(answer["Location"], {"password": PASSWORD})
        assert client.get(self.URL).status_code == 200
        assert RecoveryCode.objects.filter(user=user, status="used").count() == 2

    def test_who_has_no_password_is_led_to_a_factor(self, totp_user, browser_with):
        user, _ = totp_user
        user.set_unusable_password()
        user.save()
        browser = browser_with(user, CODE_SIGN_IN, step("mfa", "recovery_codes"))
        answer = browser.get(self.URL)
        assert answer["Location"] == to_proof(self.URL)
        browser.post(answer["Location"], {"code": totp_now()})
        assert browser.get(self.URL).status_code == 200

    def test_the_proof_ends_with_the_session(self, at_the_door):
        browser, _ = at_the_door
        browser.post(reverse("account_logout"))
        assert browser.get(self.URL)["Location"].startswith(reverse("account_login"))

    def test_a_removed_factor_leaves_the_proof_of_the_session(self, at_the_door):
        browser, _ = at_the_door
        Authenticator.objects.all().delete()
        assert browser.get(self.URL).status_code == 200

    def test_an_app_is_refused_then_served(self, totp_user, browser_with):
        user, codes = totp_user
        headers = session_token(browser_with(user, PASSWORD_STEP))
        url, client = PROTECTED("api-function"), Client()
        assert client.get(url, headers=headers).json()["code"] == "mfa_required"
        answer = client.post(
            "/_allauth/app/v1/auth/2fa/reauthenticate",
            {"code": codes[0]},
            content_type="application/json",
            headers=headers,
        )
        assert answer.status_code == 200
        assert client.get(url, headers=headers).status_code == 200


class TestForms:
    """What was sent to a page that is not open yet, is not kept and not sent again."""

    URL = PROTECTED("class")

    @pytest.fixture
    def browser(self, enrolled, browser_with):
        return browser_with(enrolled, PASSWORD_STEP)

    def test_the_person_comes_back_to_the_form(self, browser):
        headers = {"Referer": "http://testserver/form/?of=1#part"}
        answer = browser.post(self.URL, {"secret": "horse battery"}, headers=headers)
        assert answer["Location"] == to_proof("/form/%3Fof%3D1")
        assert "Nothing was changed yet" in str(next(iter(get_messages(answer.wsgi_request))))

    @pytest.mark.parametrize(
        ("page", "wanted"),
        [
            ("http://testserver", "/"),
            ("http://testserver/form/", "/form/"),
            ("http://testserver//evil.example/", "/%252Fevil.example/"),
        ],
    )
    def test_to_a_path_of_this_site(self, browser, page, wanted):
        answer = browser.post(self.URL, headers={"Referer": page})
        assert answer["Location"] == to_proof(wanted)

    @pytest.mark.parametrize(
        "page",
        ["", "https://evil.example/form/", "//evil.example/", "javascript:alert(1)", "\x00"],
    )
    def test_never_to_another_site(self, browser, page):
        answer = browser.post(self.URL, headers={"Referer": page})
        assert answer["Location"] == to_proof(self.URL)

    def test_what_was_sent_is_not_kept(self, browser):
        browser.post(self.URL, {"secret": "horse battery"})
        assert "horse battery" not in str(dict(browser.session.items()))

    def test_what_was_given_up_elsewhere_is_not_sent_either(self, browser):
        """allauth keeps a form that waits for a reauthentication, and sends it on its own."""
        session = browser.session
        session["account_reauthentication_state"] = {"request": "a form of this very page"}
        session.save()
        answer = browser.get(self.URL)
        assert "account_reauthentication_state" not in browser.session
        assert browser.post(answer["Location"], {"code": totp_now()})["Location"] == self.URL

    def test_nobody_s_form_leads_to_sign_in(self, client):
        answer = client.post(self.URL, {"secret": "horse battery"})
        assert answer["Location"] == f"/accounts/login/?next={self.URL}"
        assert "horse battery" not in str(dict(client.session.items()))

    def test_a_proven_session_sends_it(self, enrolled, browser_with):
        browser = browser_with(enrolled, *PROVEN["TOTP"])
        assert browser.post(self.URL).text == "owner"


class TestClients:
    """Who reads a redirect, and who reads JSON."""

    URL = PROTECTED("function")

    @pytest.mark.parametrize(
        "headers",
        [
            JSON,
            {"X-Requested-With": "XMLHttpRequest"},
            {"X-Session-Token": "x"},
            {"Authorization": "Bearer x"},
        ],
    )
    def test_a_program_is_told(self, enrolled, browser_with, headers):
        answer = browser_with(enrolled).get(self.URL, headers=headers)
        assert answer.status_code == 403 and answer.json()["code"] == "mfa_required"

    def test_a_program_sends_json(self, enrolled, browser_with):
        answer = browser_with(enrolled).post(self.URL, {}, content_type="application/json")
        assert answer.status_code == 403

    def test_a_browser_behind_a_proxy_s_password_is_led(self, enrolled, browser_with):
        answer = browser_with(enrolled).get(self.URL, headers={"Authorization": "Basic eDp5"})
        assert answer.status_code == 302

    def test_a_site_without_pages_tells_everybody(
        self, enrolled, browser_with, client, monkeypatch
    ):
        monkeypatch.setattr("allauth.app_settings.HEADLESS_ONLY", True, raising=False)
        assert browser_with(enrolled).get(self.URL).status_code == 403
        assert client.get(self.URL).status_code == 401

    def test_the_sign_in_page_may_be_elsewhere(self, client, settings):
        settings.LOGIN_URL = "https://sso.example/login"
        answer = client.get(self.URL)
        wanted = f"http%3A//testserver{self.URL}"
        assert answer["Location"] == f"https://sso.example/login?next={wanted}"

    def test_a_path_that_looks_like_a_host_stays_a_path(self, rf, client):
        request = rf.get("/")
        request.path = request.path_info = "//evil.example/function/"
        request.session, request.user = client.session, AnonymousUser()
        answer = mfa_required(lambda request: HttpResponse())(request)
        assert answer["Location"] == "/accounts/login/?next=/%252Fevil.example/function/"


class TestReach:
    """What is open beside, and what the decorator refuses to guard."""

    def test_other_methods_of_the_class_stay_open(self, client):
        assert client.head(PROTECTED("method")).status_code == 200
        assert client.get(PROTECTED("api-open")).status_code == 200

    def test_names_and_marks_of_the_view_are_kept(self):
        @mfa_required
        def transfer(request):
            """Move money."""

        assert (transfer.__name__, transfer.__doc__) == ("transfer", "Move money.")

    def test_the_outside_of_an_api_view_is_refused(self):
        """There a cookie would be judged, where a token is served."""

        @api_view(["GET"])
        def view(request):
            return None

        for wrong in (view, APIView.as_view()):
            with pytest.raises(TypeError, match="below @api_view"):
                mfa_required(wrong)

    @pytest.mark.parametrize("age", [timedelta(0), timedelta(seconds=-1)])
    def test_an_age_that_nobody_reaches_is_refused(self, age):
        with pytest.raises(ValueError, match="max_age"):
            mfa_required(max_age=age)

    def test_what_is_no_view_is_refused(self):
        for wrong in (timedelta(hours=1), "view", object):
            with pytest.raises(TypeError, match="decorates views"):
                mfa_required(wrong)

    def test_a_function_without_a_request_is_refused(self):
        for call in (lambda view: view(), lambda view: view(1, 2)):
            with pytest.raises(TypeError, match="no request"):
                call(mfa_required(lambda *args: HttpResponse()))

    def test_the_request_may_be_named(self, rf, enrolled, browser_with):
        request = rf.get("/", headers=JSON)
        request.session, request.user = browser_with(enrolled).session, enrolled
        guarded = mfa_required(lambda request: HttpResponse())
        assert guarded(request=request).status_code == 403

    def test_without_the_framework_views_are_django_s(self, monkeypatch):
        monkeypatch.delitem(sys.modules, "rest_framework.views")

        @mfa_required
        class Page(View):
            pass

        assert Page.dispatch.__wrapped__ is View.dispatch

    def test_a_proven_session_costs_no_query_more(
        self, enrolled, browser_with, django_assert_num_queries
    ):
        """R-150: the session and its user are loaded anyway."""
        browser = browser_with(enrolled, *PROVEN["TOTP"])
        with django_assert_num_queries(2):
            assert browser.get(PROTECTED("function")).status_code == 200

    def test_a_signed_in_browser_is_no_proof(self, enrolled):
        browser = Browser()
        browser.force_login(enrolled)
        assert methods_of(browser) == []
        assert browser.get(PROTECTED("function")).status_code == 302
