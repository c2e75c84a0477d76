"""E-mail address and code through allauth's login pipeline, on our page."""

from __future__ import annotations

import re

import pytest
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.account.signals import authentication_step_completed
from allauth.account.signals import user_logged_in as allauth_user_logged_in
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.signals import authenticator_used
from allauth.usersessions.models import UserSession
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in
from django.core import mail
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from recovery_backend_allauth import records

from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.flows.entry import BACKEND_PATH, SESSION_KEY
from recovery_backend.models import RecoveryCode
from tests.conftest import DASHBOARD, JSON, LOGIN, PASSWORD, WRONG_CODE, Browser
from tests.with_allauth.conftest import AUTHENTICATE, add_totp, totp_now

pytestmark = pytest.mark.django_db

ALLAUTH_LOGIN = "/accounts/login/"
CONFIRM_CODE = "/accounts/login/code/confirm/"
ADAPTER = "tests.with_allauth.test_sign_in."


class Hook:
    """What a site's own adapter does before a login."""

    response = None
    raised = None


class SiteAdapter(DefaultAccountAdapter):
    def pre_login(self, request, user, **kwargs):
        if Hook.raised:
            raise ImmediateHttpResponse(Hook.raised)
        return Hook.response or super().pre_login(request, user, **kwargs)


@pytest.fixture
def site_adapter(settings, monkeypatch):
    settings.ACCOUNT_ADAPTER = ADAPTER + "SiteAdapter"
    monkeypatch.setattr(Hook, "response", None)
    monkeypatch.setattr(Hook, "raised", None)
    return Hook


@pytest.fixture
def unverified_owner(settings, user, codes):
    """The owner of three codes, whose address this site wants verified, and is not."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=False)
    return user


@pytest.fixture
def heard():
    """Which sign-in signals were sent, in order."""
    names = []
    signals = {
        "django": user_logged_in,
        "allauth": allauth_user_logged_in,
        "step": authentication_step_completed,
        "used": authenticator_used,
    }
    receivers = {
        name: lambda sender, _name=name, **kwargs: names.append(_name) for name in signals
    }
    for name, signal in signals.items():
        signal.connect(receivers[name])
    yield names
    for name, signal in signals.items():
        signal.disconnect(receivers[name])


def usable(user):
    return RecoveryCode.objects.usable().of_user(user).count()


def is_signed_in(browser, user=None):
    known = browser.session.get("_auth_user_id")
    return known is not None and (user is None or known == str(user.pk))


def send(browser, user, code, **extra):
    return browser.post(LOGIN, {"email": user.email, "recovery_code": code, **extra})


def methods(browser):
    kept = browser.session.get("account_authentication_methods", [])
    return [(row["method"], row.get("type"), row.get("passwordless")) for row in kept]


BY_CODE = ("mfa", "recovery_codes", True)


class TestSignIn:
    def test_a_user_without_mfa_is_in(self, user, codes):
        browser = Browser()
        answer = send(browser, user, codes[0])
        assert (answer.status_code, answer.url) == (302, DASHBOARD)
        assert is_signed_in(browser, user) and usable(user) == 2
        assert browser.session["_auth_user_backend"] == BACKEND_PATH
        assert browser.session[SESSION_KEY]["method"] == "recovery_code"
        assert methods(browser) == [BY_CODE]

    def test_a_user_with_mfa_is_in_where_a_code_is_enough(self, totp_user):
        user, codes = totp_user
        browser = Browser()
        assert send(browser, user, codes[0]).url == DASHBOARD
        assert is_signed_in(browser, user)
        assert methods(browser) == [BY_CODE]

    def test_a_user_with_mfa_is_asked_for_it_where_a_code_is_not_enough(self, totp_user, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        assert send(browser, user, codes[0]).url == AUTHENTICATE
        assert not is_signed_in(browser) and SESSION_KEY not in browser.session
        answer = browser.post(AUTHENTICATE, {"code": totp_now()})
        assert (answer.status_code, answer.url) == (302, DASHBOARD)
        assert is_signed_in(browser, user)
        assert browser.session[SESSION_KEY]["method"] == "recovery_code"
        assert methods(browser) == [BY_CODE, ("mfa", "totp", None)]

    def test_email_and_code_alone_never_satisfy_mfa(self, totp_user):
        """R-37"""
        user, codes = totp_user
        browser = Browser()
        send(browser, user, codes[0])
        assert is_signed_in(browser, user)
        kept = browser.session["account_authentication_methods"]
        assert records.came_by_code(kept) and not records.is_satisfied(kept)

    @pytest.mark.parametrize("is_page", [True, False])
    def test_a_second_code_of_the_same_list_proves_nothing(self, totp_user, settings, is_page):
        """R-37: where e-mail address and code are not enough, two codes are not either."""
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        send(browser, user, codes[0])
        before = usable(user)
        if is_page:
            page = browser.get(AUTHENTICATE).content.decode()
            assert "also takes one of your" not in page and "another one is not enough" in page
            answer = browser.post(AUTHENTICATE, {"code": codes[1]})
            assert answer.status_code == 200
        else:
            path = "/_allauth/browser/v1/auth/2fa/authenticate"
            answer = browser.post(path, {"code": codes[1]}, content_type="application/json")
            assert answer.status_code == 400
        assert not is_signed_in(browser) and usable(user) == before

    def test_another_sign_in_takes_a_code_again(self, totp_user, settings, before_step):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        send(browser, user, codes[0])
        browser.post(reverse("account_logout"))  # "Cancel"
        browser.post(reverse("account_login"), {"login": user.username, "password": PASSWORD})
        browser.post(AUTHENTICATE, {"code": codes[1]})
        assert is_signed_in(browser, user)
        assert records.is_satisfied(browser.session["account_authentication_methods"])

    def test_the_last_code_signs_a_user_with_mfa_in(self, make_user, make_codes):
        user = make_user()
        add_totp(user)
        (code,) = make_codes(user, 1)
        browser = Browser()
        send(browser, user, code)
        assert is_signed_in(browser, user) and methods(browser) == [BY_CODE]

    def test_an_inactive_user_is_refused_and_keeps_the_code(self, user, codes):
        """R-23, R-26"""
        stranger = Browser().post(LOGIN, {"email": user.email, "recovery_code": WRONG_CODE})
        user.is_active = False
        user.save()
        browser = Browser()
        answer = send(browser, user, codes[0])
        assert _masked(answer) == _masked(stranger)
        assert not is_signed_in(browser) and usable(user) == 3

    def test_each_signal_is_sent_once(self, totp_user, heard, committed):
        user, codes = totp_user
        with committed():
            send(Browser(), user, codes[0])
        assert sorted(heard) == ["allauth", "django", "step", "used"]

    def test_without_mfa_no_authenticator_is_named(self, user, codes, heard):
        send(Browser(), user, codes[0])
        assert sorted(heard) == ["allauth", "django", "step"]

    def test_receivers_are_told_that_it_was_a_code(self, user, codes):
        told = []

        def receiver(sender, **kwargs):
            told.append(kwargs.get("recovery_code"))

        allauth_user_logged_in.connect(receiver)
        try:
            send(Browser(), user, codes[0])
            Browser().post(ALLAUTH_LOGIN, {"login": user.username, "password": PASSWORD})
        finally:
            allauth_user_logged_in.disconnect(receiver)
        assert told == [True, None]

    @pytest.mark.parametrize("is_enough", [True, False])
    def test_the_session_is_listed_under_its_own_key(self, totp_user, settings, is_enough):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = is_enough
        user, codes = totp_user
        browser = Browser()
        send(browser, user, codes[0])
        if not is_enough:
            browser.post(AUTHENTICATE, {"code": totp_now()})
        [row] = UserSession.objects.filter(user=user)
        assert row.session_key == browser.session.session_key

    def test_wrong_codes_are_answered_as_for_nobody(self, user, codes, totp_user):
        """R-26: with MFA, without it, and for an address that nobody has."""
        with_mfa, _ = totp_user
        answers = []
        for email in (user.email, with_mfa.email, "nobody@example.com"):
            answer = Browser().post(LOGIN, {"email": email, "recovery_code": WRONG_CODE})
            answers.append(_masked(answer, email))
        assert answers[0] == answers[1] == answers[2] and "This did not work." in answers[0]

    def test_wrong_codes_cost_the_same_queries(
        self, user, codes, totp_user, unverified_owner, statements
    ):
        """R-26"""
        emails = [user.email, totp_user[0].email, unverified_owner.email, "nobody@example.com"]
        counts = []
        for email in emails:
            with statements() as made:
                Browser().post(LOGIN, {"email": email, "recovery_code": WRONG_CODE})
            counts.append(len(made))
        assert len(set(counts)) == 1, counts


def _masked(answer, *typed):
    body = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "csrf", answer.text)
    for text in typed:
        body = body.replace(text, "typed")
    return body


class TestVerification:
    def test_an_unverified_owner_keeps_the_code_and_gets_a_link(self, unverified_owner, codes):
        browser = Browser()
        answer = send(browser, unverified_owner, codes[0])
        assert answer.status_code == 200 and "First confirm your e-mail address" in answer.text
        assert not is_signed_in(browser) and usable(unverified_owner) == 3
        assert "account_authentication_methods" not in browser.session
        [message] = mail.outbox
        assert message.to == [unverified_owner.email]
        [link] = re.findall(r"/accounts/confirm-email/\S+", message.body)
        browser.post(link)
        assert send(browser, unverified_owner, codes[0]).url == DASHBOARD

    def test_the_same_in_json(self, unverified_owner, codes):
        data = {"email": unverified_owner.email, "recovery_code": codes[0]}
        answer = Browser().post(LOGIN, data, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "unverified")

    def test_what_the_try_has_cost_is_given_back(self, unverified_owner, codes, settings):
        """Twelve tries, and none of them counts."""
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = 5
        for _ in range(12):
            answer = send(Browser(), unverified_owner, codes[0])
            assert answer.status_code == 200 and "First confirm" in answer.text
        assert set(RecoveryCodeCooldown.objects.values_list("failures", flat=True)) == {0}

    def test_failures_before_it_stay_counted(self, unverified_owner, codes):
        for _ in range(3):
            send(Browser(), unverified_owner, WRONG_CODE)
        send(Browser(), unverified_owner, codes[0])
        assert set(RecoveryCodeCooldown.objects.values_list("failures", flat=True)) == {3}

    def test_tries_that_cost_nothing_are_recorded_once(self, unverified_owner, codes, events):
        """R-122"""
        for _ in range(4):
            send(Browser(), unverified_owner, codes[0])
        assert events(reason="unverified") == [("login.fail", "unverified")]

    def test_allauths_limit_of_such_messages_holds(self, unverified_owner, codes):
        for _ in range(4):
            send(Browser(), unverified_owner, codes[0])
        assert len(mail.outbox) == 1

    def test_a_wrong_code_sends_nothing_and_tells_nothing(self, unverified_owner, codes):
        """R-26"""
        answer = send(Browser(), unverified_owner, WRONG_CODE)
        nobody = Browser().post(
            LOGIN, {"email": "nobody@example.com", "recovery_code": WRONG_CODE}
        )
        assert _masked(answer, unverified_owner.email) == _masked(nobody, "nobody@example.com")
        assert not mail.outbox

    def test_a_mail_server_that_fails_is_no_error_page(self, unverified_owner, codes, monkeypatch):
        def broken(*args, **kwargs):
            raise OSError("no mail")

        monkeypatch.setattr("allauth.account.adapter.EmailMultiAlternatives.send", broken)
        answer = send(Browser(), unverified_owner, codes[0])
        assert answer.status_code == 200 and usable(unverified_owner) == 3

    def test_an_owner_without_a_row_of_their_address_gets_one(self, user, codes, settings):
        settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
        assert "First confirm" in send(Browser(), user, codes[0]).text
        assert EmailAddress.objects.filter(user=user, email=user.email, verified=False).exists()
        assert [message.to for message in mail.outbox] == [[user.email]]

    def test_another_verified_address_does_not_verify_this_one(self, unverified_owner, codes):
        EmailAddress.objects.create(
            user=unverified_owner, email="other@example.com", verified=True
        )
        assert "First confirm" in send(Browser(), unverified_owner, codes[0]).text
        assert [message.to for message in mail.outbox] == [[unverified_owner.email]]

    @pytest.mark.parametrize("method", ["optional", "none"])
    def test_where_it_is_not_mandatory_nobody_is_stopped(
        self, unverified_owner, codes, settings, method
    ):
        settings.ACCOUNT_EMAIL_VERIFICATION = method
        assert send(Browser(), unverified_owner, codes[0]).url == DASHBOARD

    def test_a_verified_owner_is_in(self, unverified_owner, codes):
        EmailAddress.objects.update(verified=True)
        assert send(Browser(), unverified_owner, codes[0]).url == DASHBOARD

    def test_by_mailed_code_it_happens_within_the_sign_in(self, unverified_owner, codes, settings):
        """allauth takes its code from a pending sign-in only, so that one goes on."""
        settings.ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
        browser = Browser()
        page = send(browser, unverified_owner, codes[0]).url
        assert page == reverse("account_email_verification_sent")
        assert not is_signed_in(browser)
        mailed = browser.session["account_email_verification_code"]["code"]
        answer = browser.post(page, {"code": mailed})
        assert answer.status_code == 302 and is_signed_in(browser, unverified_owner)
        assert browser.session[SESSION_KEY]["method"] == "recovery_code"
        assert browser.session.get_expire_at_browser_close()

    def test_by_mailed_code_no_code_is_spent_while_no_mail_may_be_sent(
        self, unverified_owner, codes, settings
    ):
        settings.ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
        send(Browser(), unverified_owner, codes[0])
        answer = send(Browser(), unverified_owner, codes[1])
        assert answer.status_code == 200 and "First confirm" in answer.text
        assert usable(unverified_owner) == 2 and len(mail.outbox) == 1


class TestSession:
    @pytest.mark.parametrize(
        ("setting", "ends_with_browser"), [(None, True), (False, True), (True, False)]
    )
    @pytest.mark.parametrize("is_enough", [True, False])
    def test_the_browser_is_remembered_only_by_the_setting(
        self, totp_user, settings, setting, ends_with_browser, is_enough
    ):
        settings.ACCOUNT_SESSION_REMEMBER = setting
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = is_enough
        user, codes = totp_user
        browser = Browser()
        send(browser, user, codes[0])
        if not is_enough:
            browser.post(AUTHENTICATE, {"code": totp_now()})
        assert is_signed_in(browser, user)
        assert browser.session.get_expire_at_browser_close() is ends_with_browser

    def test_the_key_changes_for_a_stranger(self, user, codes):
        """R-32: a session that somebody has fixed before is not the one after."""
        browser = Browser()
        browser.get(ALLAUTH_LOGIN)
        session = browser.session
        session["planted"] = True
        session.save()
        before = session.session_key
        send(browser, user, codes[0])
        assert browser.session.session_key != before

    def test_the_key_changes_for_the_same_user(self, user, codes):
        """R-32: and what else the session held stays."""
        browser = Browser()
        browser.force_login(user)
        session = browser.session
        session["cart"] = [1]
        session.save()
        before = session.session_key
        send(browser, user, codes[0])
        assert is_signed_in(browser, user) and browser.session["cart"] == [1]
        assert browser.session.session_key != before
        [row] = UserSession.objects.filter(user=user)
        assert row.session_key == browser.session.session_key

    def test_nothing_of_another_user_remains(self, user, codes, make_user):
        """R-32"""
        browser = Browser()
        other = make_user()
        browser.post(ALLAUTH_LOGIN, {"login": other.username, "password": PASSWORD})
        session = browser.session
        session["cart"] = [1]
        session.save()
        before = session.session_key
        send(browser, user, codes[0])
        assert is_signed_in(browser, user) and methods(browser) == [BY_CODE]
        assert browser.session.session_key != before and "cart" not in browser.session
        assert browser.session.get_expire_at_browser_close()

    @pytest.mark.parametrize("fate", ["deleted", "inactive"])
    def test_the_record_outlives_the_session_of_a_user_who_is_gone(
        self, user, codes, make_user, fate
    ):
        """R-37: `login()` empties a session that names somebody else, with what was recorded."""
        other = make_user()
        browser = Browser()
        browser.force_login(other)
        if fate == "deleted":
            other.delete()
        else:
            get_user_model().objects.filter(pk=other.pk).update(is_active=False)
        send(browser, user, codes[0])
        assert is_signed_in(browser, user) and methods(browser) == [BY_CODE]

    def test_a_password_of_another_user_before_the_step_counts_for_nobody(
        self, user, codes, totp_user, before_step
    ):
        other, _ = totp_user
        browser = before_step(other)
        send(browser, user, codes[0])
        assert is_signed_in(browser, user) and methods(browser) == [BY_CODE]
        assert "account_login" not in browser.session

    def test_an_abandoned_code_leaves_nothing_to_a_later_sign_in(self, totp_user, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        send(browser, user, codes[0])
        browser.post(  # allauth's page would lead back to the pending sign-in
            "/_allauth/browser/v1/auth/login",
            {"username": user.username, "password": PASSWORD},
            content_type="application/json",
        )
        browser.post(AUTHENTICATE, {"code": totp_now()})
        assert is_signed_in(browser, user) and SESSION_KEY not in browser.session
        assert methods(browser) == [("password", None, None), ("mfa", "totp", None)]

    def test_a_password_given_before_the_step_is_not_mixed_with_a_code(
        self, totp_user, before_step
    ):
        """R-37: the link to our page on the page of the second step."""
        user, codes = totp_user
        browser = before_step(user)
        send(browser, user, codes[0])
        assert is_signed_in(browser, user) and methods(browser) == [BY_CODE]


class TestWhereItLeads:
    @pytest.mark.parametrize("is_enough", [True, False])
    def test_the_wanted_page(self, totp_user, settings, is_enough):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = is_enough
        user, codes = totp_user
        browser = Browser()
        answer = send(browser, user, codes[0], next="/wanted/")
        if not is_enough:
            answer = browser.post(AUTHENTICATE, {"code": totp_now()})
        assert answer.url == "/wanted/"

    @pytest.mark.parametrize(
        "target",
        ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"],
    )
    @pytest.mark.parametrize("is_enough", [True, False])
    def test_never_another_site(self, totp_user, settings, target, is_enough):
        """R-94"""
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = is_enough
        user, codes = totp_user
        browser = Browser()
        answer = send(browser, user, codes[0], next=target)
        if not is_enough:
            answer = browser.post(AUTHENTICATE, {"code": totp_now(), "next": target})
        assert answer.url == DASHBOARD

    def test_the_setting(self, user, codes, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_REDIRECT_VIEW = "home"
        assert send(Browser(), user, codes[0]).url == "/"

    def test_json(self, totp_user, settings):
        user, codes = totp_user
        data = {"email": user.email, "recovery_code": codes[0]}
        assert Browser().post(LOGIN, data, headers=JSON).json() == {"redirect_to": DASHBOARD}
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        data["recovery_code"] = codes[1]
        assert Browser().post(LOGIN, data, headers=JSON).json() == {"redirect_to": AUTHENTICATE}

    def test_a_mailed_code_is_asked_for_where_the_site_requires_one(self, user, codes, settings):
        settings.ACCOUNT_LOGIN_BY_CODE_REQUIRED = True
        browser = Browser()
        assert send(browser, user, codes[0]).url == CONFIRM_CODE
        assert not is_signed_in(browser)
        mailed = browser.session["account_login"]["state"]["stages"]["login_by_code"]["data"]
        answer = browser.post(CONFIRM_CODE, {"code": mailed["code"]})
        assert answer.url == DASHBOARD and is_signed_in(browser, user)
        kept = browser.session["account_authentication_methods"]
        assert records.came_by_code(kept) and not records.is_satisfied(kept)
        assert browser.session[SESSION_KEY]["method"] == "recovery_code"

    @pytest.mark.django_db(transaction=True)
    def test_under_atomic_requests(self, user, codes, settings, monkeypatch):
        """R-96: what a try has cost stays, when the page fails later."""
        from django.db import connection

        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        browser = Browser(raise_request_exception=False)
        monkeypatch.setattr(
            "recovery_backend.views.LoginView.form_invalid", lambda self, form: 1 / 0
        )
        assert send(browser, user, WRONG_CODE).status_code == 500
        assert RecoveryCodeCooldown.objects.filter(failures=1).count() == 2
        assert send(browser, user, codes[0]).url == DASHBOARD and is_signed_in(browser, user)


class TestAdapter:
    @pytest.mark.parametrize("how", ["response", "raised"])
    def test_the_sites_own_answer_is_shown_and_nobody_is_in(self, totp_user, site_adapter, how):
        setattr(site_adapter, how, HttpResponse("not today"))
        user, codes = totp_user
        browser = Browser()
        answer = send(browser, user, codes[0])
        assert answer.text == "not today" and "no-store" in answer["Cache-Control"]
        assert not is_signed_in(browser) and SESSION_KEY not in browser.session
        assert methods(browser) == []

    def test_its_redirect_is_followed(self, user, codes, site_adapter):
        site_adapter.response = HttpResponseRedirect("/terms/")
        assert send(Browser(), user, codes[0]).url == "/terms/"


class TestSecondFactorMode:
    @pytest.fixture(autouse=True)
    def second_factor(self, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "second_factor"

    @pytest.mark.parametrize(
        ("wanted", "target"),
        [
            ("", ALLAUTH_LOGIN),
            ("?next=/a%3Fb%3Dc", f"{ALLAUTH_LOGIN}?next=%2Fa%3Fb%3Dc"),
            ("?next=//evil.example", ALLAUTH_LOGIN),
        ],
    )
    def test_the_page_leads_to_the_password(self, client, wanted, target):
        """R-35, R-94"""
        answer = client.get(f"{LOGIN}{wanted}")
        assert (answer.status_code, answer.url) == (302, target)
        assert "no-store" in answer["Cache-Control"]

    def test_a_code_that_is_sent_is_not_looked_at(self, user, codes):
        browser = Browser()
        answer = send(browser, user, codes[0], password=PASSWORD)
        assert answer.status_code == 403 and "Sign in with your password first" in answer.text
        assert f'href="{ALLAUTH_LOGIN}"' in answer.text
        assert not is_signed_in(browser) and usable(user) == 3
        assert not RecoveryCodeCooldown.objects.exists()

    @pytest.mark.parametrize("method", ["get", "post"])
    def test_json_is_told_where(self, client, method):
        answer = getattr(client, method)(LOGIN, headers=JSON)
        assert answer.status_code == 403
        assert (answer.json()["code"], answer.json()["redirect_to"]) == (
            "second_factor",
            ALLAUTH_LOGIN,
        )

    def test_the_code_works_at_the_step(self, totp_user, before_step):
        user, codes = totp_user
        browser = before_step(user)
        assert browser.post(AUTHENTICATE, {"code": codes[0]}).status_code == 302
        assert is_signed_in(browser, user)

    def test_without_a_login_page_of_allauths_login_url_is_named(self, client, settings):
        settings.ROOT_URLCONF = "recovery_backend.urls"
        settings.LOGIN_URL = "https://app.example.com/login"
        assert client.get(LOGIN).url == "https://app.example.com/login"


class TestOffMode:
    @pytest.mark.parametrize("method", ["get", "post"])
    def test_nobody_is_led_anywhere(self, client, settings, method):
        """R-35"""
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
        answer = getattr(client, method)(LOGIN)
        assert answer.status_code == 403 and "turned off" in answer.text
