"""Sessions with a second factor, bound to the browser and the network that proved it."""

from __future__ import annotations

import json

import pytest
from allauth.mfa.models import Authenticator
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.core import mail
from django.test import AsyncClient, Client
from django.urls import include, path, reverse
from recovery_backend_allauth import binding, fingerprints
from recovery_backend_allauth.fingerprints import browser_of

from recovery_backend.keys import generate_key
from recovery_backend.models import RecoveryCodeAudit
from recovery_backend.signals import owner_notified
from tests.conftest import DASHBOARD, JSON, LOGIN, PASSWORD, Browser
from tests.with_allauth.conftest import AUTHENTICATE, REAUTHENTICATE, add_totp, totp_now
from tests.with_allauth.restricted.conftest import sign_in_app
from tests.with_allauth.restricted.urls import api, asynchronous, ordinary

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/{}.0.0.0 Safari/537.36"
)
CHROME_ON_ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Mobile Safari/537.36"
)
ANDROID_AS_DESKTOP = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:{0}) Gecko/20100101 Firefox/{0}"
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/{} Safari/605.1.15"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS {} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/{} Mobile/15E148 Safari/604.1"
)
WEBVIEW = (
    "Mozilla/5.0 (Linux; Android {}; Pixel 7 Build/{}; wv) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Version/4.0 Chrome/126.0.6478.71 Mobile Safari/537.36"
)
CURRENT = CHROME.format(126)
EDGE = CURRENT + " Edg/126.0.0.0"

HOME, CAFE, PHONE = "198.51.100.7", "203.0.113.9", "192.0.2.44"
HOME_V6, NEIGHBOUR_V6 = "2001:db8:1:2:{}::1", "2001:db8:1:3::1"

urlpatterns = [
    path("", include("tests.with_allauth.urls")),
    path("ordinary/", ordinary, name="ordinary"),
    path("asynchronous/", asynchronous),
    path("api/", api, name="api"),
]


@pytest.fixture(autouse=True)
def site(settings, db):
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def bind(settings):
    def bind(**policies):
        for kind, policy in policies.items():
            name = f"DJANGO_AUTH_RECOVERY_CODES_MFA_BIND_{kind.upper()}"
            setattr(settings, name, policy)

    return bind


class Device(Browser):
    """A browser that can change its place and its name."""

    def at(self, address=None, agent=None):
        if address:
            self.defaults["REMOTE_ADDR"] = address
        if agent:
            self.defaults["HTTP_USER_AGENT"] = agent
        return self


@pytest.fixture
def sign_in(totp_user):
    """A device on which the user has signed in with password and TOTP, at home."""

    def sign_in(address=HOME, agent=CURRENT):
        user, codes = totp_user
        device = Device().at(address, agent)
        device.post(reverse("account_login"), {"login": user.username, "password": PASSWORD})
        device.post(AUTHENTICATE, {"code": totp_now()})
        assert device.session[SESSION_KEY] == str(user.pk)
        device.user, device.codes = user, codes
        return device

    return sign_in


def is_open(device, url="/ordinary/"):
    return device.get(url).content == b"opened"


def is_asked(device):
    answer = device.get("/ordinary/")
    expected = f"{REAUTHENTICATE}?next=%2Fordinary%2F"
    return (answer.status_code, answer.headers.get("Location")) == (302, expected)


def prove(device, code=None):
    code = code or totp_now()
    return device.post(REAUTHENTICATE, {"code": code, "next": "/ordinary/"})


def test_a_session_that_the_last_code_has_opened_is_bound(bind, make_user, make_codes):
    bind(browser="end")
    user = make_user()
    add_totp(user)
    (code,) = make_codes(user, 1)
    device = Device().at(HOME, CURRENT)
    device.post(LOGIN, {"email": user.email, "recovery_code": code})
    assert is_open(device)
    assert not is_open(device.at(agent=EDGE))


class TestBrowsers:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (CHROME.format(126), CHROME.format(127)),
            (FIREFOX.format("115.0"), FIREFOX.format("128.0.1")),
            (FIREFOX.format("128.0"), FIREFOX.format("129.0a1")),
            (SAFARI.format("17.4.1"), SAFARI.format("18.0")),
            (IPHONE.format("17_5", "17.5"), IPHONE.format("18_0_1", "18.0.1")),
            (WEBVIEW.format(13, "TQ3A.230901.001"), WEBVIEW.format(14, "UP1A.231005.007")),
            ("Shop/2.3.1-beta (build 4711) okhttp/4.9.3", "Shop/3.0.0 (build 5000) okhttp/4.12.0"),
        ],
    )
    def test_an_update_is_no_other_browser(self, before, after):
        assert before != after and browser_of(before) == browser_of(after)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (CHROME.format(126), EDGE),
            (CHROME.format(126), FIREFOX.format("128.0")),
            (CHROME_ON_ANDROID, ANDROID_AS_DESKTOP),
            (SAFARI.format("17.4"), IPHONE.format("17_4", "17.4")),
            (CHROME.format(126), ""),
            ("curl/8.5.0", "python-requests/2.32"),
        ],
    )
    def test_another_browser_or_system_is(self, one, other):
        assert browser_of(one) != browser_of(other)

    @pytest.mark.parametrize(
        "agent", ["/" * 5000, "1" * 5000, "\x00\x1b[31m", "/1" * 5000, "🦊/1"]
    )
    def test_hostile_names_do_no_harm(self, agent, bind, sign_in):
        bind(browser="step_up")
        device = sign_in(agent=agent)
        assert is_open(device)

    def test_an_update_asks_for_nothing(self, bind, sign_in):
        bind(browser="end")
        device = sign_in()
        assert is_open(device.at(agent=CHROME.format(140)))

    def test_another_browser_has_to_prove_the_factor(self, bind, sign_in, events):
        bind(browser="step_up")
        device = sign_in()
        assert is_open(device)
        assert is_asked(device.at(agent=FIREFOX.format("128.0")))
        assert events(event="recovery.session.moved") == [("session.moved", "browser")]

    def test_the_desktop_view_of_a_phone_is_asked_once(self, bind, sign_in):
        bind(browser="step_up")
        device = sign_in(agent=CHROME_ON_ANDROID)
        assert is_asked(device.at(agent=ANDROID_AS_DESKTOP))
        prove(device, device.codes[0])
        assert is_open(device)
        assert is_open(device.at(agent=CHROME_ON_ANDROID)), "both are known now"

    def test_another_network_is_no_other_browser(self, bind, sign_in):
        bind(browser="end")
        assert is_open(sign_in().at(CAFE))


class TestNetworks:
    def test_a_phone_that_leaves_the_wifi_is_asked_once(self, bind, sign_in):
        bind(network="step_up")
        device = sign_in()
        assert is_asked(device.at(PHONE))
        assert prove(device, device.codes[0])["Location"] == "/ordinary/"
        assert is_open(device)
        assert is_open(device.at(HOME)) and is_open(device.at(PHONE))

    def test_privacy_addresses_of_one_network_are_one(self, bind, sign_in):
        bind(network="end")
        device = sign_in(HOME_V6.format("a"))
        assert is_open(device.at(HOME_V6.format("beef")))
        assert not is_open(device.at(NEIGHBOUR_V6))

    def test_both_protocols_of_one_network_are_two_and_then_known(self, bind, sign_in):
        bind(network="step_up")
        device = sign_in(HOME)
        assert is_asked(device.at(HOME_V6.format("a")))
        prove(device, device.codes[0])
        for address in (HOME, HOME_V6.format("b"), f"::ffff:{HOME}"):
            assert is_open(device.at(address))

    def test_a_carriers_pool_is_known_after_a_while_and_bounded(self, bind, sign_in, make_codes):
        bind(network="step_up")
        device = sign_in("192.0.2.0")
        codes = make_codes(device.user, number_of_codes=20)
        pool = [f"192.0.2.{number}" for number in range(1, binding.REMEMBERED)]
        for address in pool:
            assert is_asked(device.at(address))
            prove(device, codes.pop())
        assert all(is_open(device.at(address)) for address in ["192.0.2.0", *pool])
        device.at("192.0.2.99")
        prove(device, codes.pop())
        assert len(device.session[binding.KEY]["known"]["network"]) == binding.REMEMBERED
        assert is_asked(device.at("192.0.2.0")), "the oldest is forgotten"
        assert is_open(device.at(pool[0]))

    def test_the_address_that_a_trusted_proxy_saw_counts(self, bind, sign_in, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_TRUSTED_PROXY_COUNT = 1
        bind(network="end")
        device = sign_in()
        device.defaults["HTTP_X_FORWARDED_FOR"] = f"{CAFE}, {HOME}"
        assert is_open(device)
        device.defaults["HTTP_X_FORWARDED_FOR"] = f"{HOME}, {CAFE}"
        assert not is_open(device)


class TestWarn:
    def test_the_session_goes_on_and_the_owner_is_told_once(
        self, bind, sign_in, committed, at_once, events
    ):
        bind(network="warn")
        device = sign_in()
        mail.outbox.clear()
        for _ in range(3):
            with committed():
                assert is_open(device.at(CAFE))
            assert is_open(device.at(HOME))
        assert events(event="recovery.session.moved") == [("session.moved", "network")]
        [message] = mail.outbox
        assert message.to == [device.user.email]
        assert "Your sign-in was used from another place" in message.subject
        assert "It goes on." in message.body and "203.0.113.0/24" in message.body
        [(page, kind)] = message.alternatives
        assert kind == "text/html" and "It goes on." in page

    def test_each_new_place_is_told_of_up_to_five_an_hour(self, bind, sign_in, events, clock):
        bind(network="warn")
        device = sign_in()
        for number in range(9):
            assert is_open(device.at(f"203.0.113.{number}"))
        assert len(events(event="recovery.session.moved")) == 5
        clock.shift(3601)
        assert is_open(device.at(PHONE))
        assert len(events(event="recovery.session.moved")) == 6

    def test_messengers_hear_of_it(self, bind, sign_in, committed):
        heard = []

        def hear(sender, notice, **kwargs):
            heard.append(str(notice))

        bind(browser="warn")
        device = sign_in()
        owner_notified.connect(hear)
        try:
            with committed():
                device.at(agent=EDGE).get("/ordinary/")
        finally:
            owner_notified.disconnect(hear)
        assert heard == ["session_moved"]

    def test_who_is_told_is_not_known_to_a_stricter_policy(self, bind, sign_in):
        bind(network="warn")
        device = sign_in()
        assert is_open(device.at(CAFE))
        bind(network="step_up")
        assert is_asked(device)


class TestStepUp:
    @pytest.mark.parametrize("url", ["recovery_dashboard", "mfa_index", "account_change_password"])
    def test_what_could_help_a_thief_to_prove_it_is_closed(self, bind, sign_in, url):
        bind(network="step_up")
        device = sign_in().at(CAFE)
        assert device.get(reverse(url))["Location"].startswith(REAUTHENTICATE)
        answer = device.post(reverse("recovery_generate"), {"confirm": "on"})
        assert (
            answer["Location"] == f"{REAUTHENTICATE}?next=%2Fauth%2Frecovery-codes%2Fgenerate%2F"
        )

    def test_a_password_is_not_enough(self, bind, sign_in):
        bind(network="step_up")
        device = sign_in().at(CAFE)
        assert device.get("/accounts/reauthenticate/").status_code == 200
        device.post("/accounts/reauthenticate/", {"password": PASSWORD})
        assert is_asked(device)

    def test_one_can_sign_out(self, bind, sign_in):
        bind(network="step_up")
        device = sign_in().at(CAFE)
        device.post(reverse("recovery_logout"))
        assert SESSION_KEY not in device.session

    def test_programs_get_the_reason(self, bind, sign_in):
        bind(network="step_up")
        device = sign_in().at(CAFE)
        for method in (device.get, device.post, device.put, device.options):
            answer = method("/ordinary/", headers=JSON)
            assert (answer.status_code, answer.json()["code"]) == (403, "session_moved")

    def test_it_is_recorded_once(self, bind, sign_in, events):
        bind(network="step_up", browser="warn")
        device = sign_in().at(CAFE, EDGE)
        assert is_asked(device) and is_asked(device)
        assert sorted(events(event="recovery.session.moved")) == [
            ("session.moved", "browser"),
            ("session.moved", "network"),
        ]

    def test_the_stricter_of_two_policies_holds(self, bind, sign_in):
        bind(network="step_up", browser="end")
        device = sign_in().at(CAFE, EDGE)
        device.get("/ordinary/")
        assert SESSION_KEY not in device.session

    def test_where_no_factor_is_left_to_prove_the_session_ends(self, bind, sign_in):
        bind(network="step_up")
        device = sign_in().at(CAFE)
        Authenticator.objects.filter(user=device.user).delete()
        assert device.get("/ordinary/")["Location"].startswith("/accounts/login/")
        assert SESSION_KEY not in device.session


class TestEnd:
    def test_the_session_ends_and_its_user_is_told_why(self, bind, sign_in, events):
        bind(network="end")
        device = sign_in().at(CAFE)
        page = device.get("/ordinary/", follow=True).content.decode()
        assert "You were signed out, because your session was used from another" in page
        assert SESSION_KEY not in device.session
        assert events(event="recovery.session.moved") == [("session.moved", "network")]

    def test_programs_get_401(self, bind, sign_in):
        bind(network="end")
        answer = sign_in().at(CAFE).get("/ordinary/", headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")

    def test_it_ends_for_the_owner_too_who_signs_in_again(self, bind, sign_in):
        bind(network="end")
        device = sign_in()
        thief = Device().at(CAFE, CHROME.format(126))
        thief.cookies = device.cookies.copy()
        thief.get("/ordinary/")
        assert SESSION_KEY not in device.session


class TestTokens:
    @pytest.fixture
    def app(self, bind, totp_user):
        def app(**policies):
            bind(**policies)
            user, codes = totp_user
            client, meta = sign_in_app(user, codes[0])
            headers = {"X-Session-Token": meta["session_token"]}
            client.codes, client.token = codes, meta["session_token"]
            client.from_home = lambda url: client.get(url, headers=headers)
            client.from_cafe = lambda url: client.get(url, headers=headers, REMOTE_ADDR=CAFE)
            client.prove = lambda code: client.post(
                "/_allauth/app/v1/auth/2fa/reauthenticate",
                json.dumps({"code": code}),
                content_type="application/json",
                headers=headers,
                REMOTE_ADDR=CAFE,
            )
            return client

        return app

    def test_an_app_has_to_prove_the_factor(self, app):
        client = app(network="step_up")
        assert client.from_home("/api/").status_code == 200
        for url in ("/api/", "/_allauth/app/v1/account/authenticators"):
            answer = client.from_cafe(url)
            assert (answer.status_code, answer.json()["code"]) == (403, "session_moved")
        assert client.prove(client.codes[1]).status_code == 200
        assert client.from_cafe("/api/").status_code == 200
        assert client.from_home("/api/").status_code == 200

    def test_a_warning_is_written_once(self, app, events):
        client = app(network="warn")
        for _ in range(3):
            assert client.from_cafe("/api/").status_code == 200
        assert len(events(event="recovery.session.moved")) == 1
        session = Session.objects.get(pk=client.token).get_decoded()
        assert len(session[binding.KEY]["told"]["network"]) == 1

    def test_the_end_of_an_apps_session(self, app):
        client = app(network="end")
        answer = client.from_cafe("/api/")
        assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")
        assert not Session.objects.filter(pk=client.token).exists()

    @pytest.mark.parametrize(("policy", "status"), [("warn", 200), ("end", 401)])
    def test_an_access_token_does_not_outlive_its_session(
        self, settings, bind, totp_user, policy, status
    ):
        settings.HEADLESS_TOKEN_STRATEGY = (
            "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"
        )
        settings.HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED = False
        bind(network=policy)
        user, codes = totp_user
        _, meta = sign_in_app(user, codes[0])
        Session.objects.all().delete()
        headers = {"Authorization": f"Bearer {meta['access_token']}"}
        answer = Client().get("/api/", headers=headers)
        assert answer.status_code == status


class TestWhatIsStored:
    def test_no_raw_data(self, bind, sign_in):
        bind(browser="warn", network="warn")
        device = sign_in()
        device.at(CAFE).get("/ordinary/")
        stored = json.dumps(device.session[binding.KEY])
        for raw in (HOME, CAFE, "Chrome", "Windows"):
            assert raw not in stored
        assert device.session[binding.KEY]["user"] == str(device.user.pk)

    def test_nothing_while_off(self, sign_in):
        """R-150"""
        assert binding.KEY not in sign_in().session

    def test_only_what_is_bound(self, bind, sign_in):
        bind(network="warn")
        assert set(sign_in().session[binding.KEY]["known"]) == {"network"}

    def test_one_network_of_two_users_looks_different(self, rf, make_user):
        request = rf.get("/")
        one, other = make_user(), make_user()
        marks = {fingerprints.fingerprint(request, user, "network") for user in (one, other)}
        assert len(marks) == 2

    def test_a_new_key_moves_nobody(self, bind, sign_in, settings):
        bind(network="end", browser="end")
        device = sign_in()
        old = settings.DJANGO_AUTH_RECOVERY_KEY
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [old]
        assert is_open(device)

    def test_another_user_of_the_session_inherits_nothing(self, bind, sign_in, make_user):
        bind(network="end")
        device = sign_in()
        bound = device.session[binding.KEY]
        device.force_login(make_user())
        session = device.session
        session[binding.KEY] = bound
        session.save()
        assert is_open(device.at(CAFE))

    def test_a_session_without_a_second_factor_is_not_bound(self, bind, user, make_browser):
        bind(network="end")
        browser = make_browser(user)
        assert browser.get("/ordinary/", REMOTE_ADDR=CAFE).content == b"opened"

    def test_a_password_alone_binds_nothing(self, bind, sign_in):
        bind(network="end")
        device = sign_in()
        bound = device.session[binding.KEY]
        device.post("/accounts/reauthenticate/", {"password": PASSWORD})
        assert device.session[binding.KEY] == bound


class TestCosts:
    """R-150"""

    def test_nothing_while_off(self, rf, django_assert_num_queries):
        with django_assert_num_queries(0):
            assert binding.answer(rf.get("/")) is None  # which has no session at all

    def test_one_row_of_a_session_that_is_not_bound(self, bind, user, make_browser, statements):
        bind(network="end")
        browser = make_browser(user)
        with statements() as sql:
            browser.get("/ordinary/")
        assert len(sql) == 1 and "django_session" in sql[0]


def test_a_cache_that_is_down_tells_the_owner_all_the_same(bind, sign_in, events, monkeypatch):
    def fail(*args):
        raise ConnectionError

    bind(network="warn")
    device = sign_in()
    monkeypatch.setattr("recovery_backend.cooldown.is_notice_due", fail)
    monkeypatch.setattr("recovery_backend.cooldown.is_event_due", fail)
    assert is_open(device.at(CAFE))
    assert events(event="recovery.session.moved") == [("session.moved", "network")]


def test_the_row_says_who_where_and_what_was_done(bind, sign_in):
    bind(network="step_up")
    device = sign_in()
    device.at(CAFE).get(DASHBOARD)
    row = RecoveryCodeAudit.objects.get(event="recovery.session.moved")
    assert (row.user, row.address, row.data) == (device.user, CAFE, {"policy": "step_up"})


def test_the_same_under_asgi(bind, sign_in):
    bind(browser="step_up")
    device = sign_in()
    client = AsyncClient()
    client.cookies = device.cookies
    answer = async_to_sync(client.get)("/asynchronous/", headers={**JSON, "User-Agent": EDGE})
    assert (answer.status_code, answer.json()["code"]) == (403, "session_moved")
