"""R-70 to R-72: plaintext waits sealed, for one browser, one user, one batch, and not for long."""

from __future__ import annotations

import base64
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.contrib.auth import HASH_SESSION_KEY, get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.core.management import call_command
from django.test import RequestFactory
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from recovery_backend import flows, stash
from recovery_backend.keys import generate_key, keyring
from recovery_backend.models import RecoveryCodeBatch
from tests.conftest import LOGIN, PASSWORD, Browser

OURS = "recovery_backend.middleware.RecoveryCodeMiddleware"
TTL = 900
FORGED = [
    "",
    "x",
    "0" * 64,
    "g" * 64,
    "é" * 64,
    "\x00" * 64,
    "\ud800" * 64,
    "0" * 63,
    "0" * 65,
    "0" * 20_000,
    "; path=/; 0",
]


@pytest.fixture(params=[True, False], ids=["middleware", "no middleware"])
def with_and_without_middleware(request, settings):
    """Nothing is safe only because the middleware ran."""
    if not request.param:
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != OURS]


@pytest.fixture
def generated(browser):
    """The owner's browser, with codes that nobody has looked at."""
    assert browser.send("recovery_generate").status_code == 302
    return browser


def active(user):
    return RecoveryCodeBatch.objects.active_of(user)


def sealed(user):
    """The ciphertext in the user's row; "" when there is none."""
    batch = active(user)
    return batch.sealed if batch else ""


def put(user, ciphertext):
    RecoveryCodeBatch.objects.filter(user=user, status="active").update(sealed=ciphertext)


def cookie(browser):
    return browser.cookies[stash.COOKIE].value


def parts(browser):
    """What the browser's cookie and its session give to the key."""
    return cookie(browser), browser.session.session_key


def plaintext(browser):
    """What the page offers: None, or an object whose `codes` are there when they are shown."""
    response = browser.open()
    assert response.status_code == 200
    return response.context["plaintext"]


def is_gone(browser, user):
    """Nothing is offered, and nothing is kept anywhere."""
    return (
        plaintext(browser) is None
        and not any(batch.sealed for batch in RecoveryCodeBatch.objects.filter(user=user))
        and stash.SESSION_KEY not in browser.session
    )


def opened(user, *parts):
    return stash.unseal("session", user, active(user).public_id, sealed(user), *parts)


class TestParts:
    """R-70: no part of the key is enough, and the pieces fit only together."""

    def test_row_session_and_cookie_together_hold_the_codes(self, user, generated):
        codes = opened(user, *parts(generated)).codes
        assert len(codes) == 10
        assert plaintext(generated).codes == codes

    def test_database_and_keys_of_the_site_do_not_open_it(self, user, generated, settings):
        _secret, session_key = parts(generated)
        known = ["", settings.SECRET_KEY, settings.DJANGO_AUTH_RECOVERY_KEY, "0" * 64]
        known += [session_key, sealed(user)]
        assert [opened(user, guess, session_key) for guess in known] == [None] * len(known)
        assert opened(user) is None
        del generated.cookies[stash.COOKIE]
        assert plaintext(generated) is None

    def test_the_cookie_does_not_open_it_without_the_sites_key(self, user, generated, settings):
        raw = base64.urlsafe_b64decode(sealed(user))
        with pytest.raises(InvalidTag):
            AESGCM(bytes.fromhex(cookie(generated))).decrypt(raw[:12], raw[12:], None)
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        assert opened(user, *parts(generated)) is None

    def test_the_cookie_shows_nothing_in_another_session(self, user, generated, make_browser):
        other = make_browser(user)
        other.cookies[stash.COOKIE] = cookie(generated)
        assert plaintext(other) is None
        assert other.send_json("recovery_download").json()["code"] == "PlaintextGone"
        assert plaintext(generated).codes

    def test_neither_row_nor_session_holds_a_code_or_the_cookie(self, user, generated):
        codes = opened(user, *parts(generated)).codes
        text = repr(dict(generated.session.items())) + sealed(user)
        assert not any(code in text for code in codes)
        assert cookie(generated) not in text

    def test_each_batch_has_a_key_of_its_own(self, generated):
        before = cookie(generated)
        generated.send("recovery_generate", confirm="on")
        assert cookie(generated) != before

    @pytest.mark.parametrize("forged", FORGED)
    def test_a_wrong_cookie_is_answered_with_nothing_and_the_right_one_still_works(
        self, generated, forged, with_and_without_middleware
    ):
        right = cookie(generated)
        generated.cookies[stash.COOKIE] = forged.encode("utf-8", "replace").decode()
        assert plaintext(generated) is None
        assert generated.send("recovery_download").status_code == 302
        generated.cookies[stash.COOKIE] = right
        assert plaintext(generated).codes

    def test_a_cookie_of_the_same_name_from_a_neighbouring_host_hides_nothing(
        self, user, generated, rf
    ):
        """Browsers send both, and Django keeps the last."""
        secret, session_key = parts(generated)
        request = rf.get("/", headers={"Cookie": f"{stash.COOKIE}={secret}; {stash.COOKIE}=x"})
        request.session = generated.session
        assert request.COOKIES[stash.COOKIE] == "x"
        assert stash.read(request, user, active(user).public_id, sealed(user)).codes
        tossed = "; ".join([f"{stash.COOKIE}={'0' * 64}"] * 50 + [f"{stash.COOKIE}={secret}"])
        request.META["HTTP_COOKIE"] = tossed
        assert stash.read(request, user, active(user).public_id, sealed(user)) is None

    def test_a_wrong_cookie_is_recorded_once(self, generated, events):
        """R-122"""
        generated.cookies[stash.COOKIE] = "0" * 64
        for _ in range(3):
            generated.open()
        assert events().count(("stash.decrypt_fail", "")) == 1

    def test_codes_of_another_browser_are_no_wrong_cookie(
        self, user, generated, make_browser, events
    ):
        make_browser(user).send("recovery_generate", confirm="on")
        assert plaintext(generated) is None
        assert ("stash.decrypt_fail", "") not in events()
        assert cookie(generated) == ""

    def test_another_users_ciphertext_shows_nothing(
        self, user, generated, make_user, make_browser
    ):
        thief = make_user()
        other = make_browser(thief)
        other.send("recovery_generate")
        other.cookies[stash.COOKIE] = cookie(generated)
        put(thief, sealed(user))
        assert plaintext(other) is None
        assert opened(thief, *parts(generated)) is None

    def test_another_batch_or_purpose_opens_nothing(self, user, generated):
        batch, text, key = active(user).public_id, sealed(user), parts(generated)
        assert stash.unseal("session", user, uuid4(), text, *key) is None
        assert stash.unseal("email", user, batch, text, *key) is None
        later = timezone.now() + timedelta(seconds=TTL)
        by_mail = stash.seal("email", user, batch, later, ["code"])
        assert stash.unseal("email", user, batch, by_mail).codes == ("code",)
        assert stash.unseal("session", user, batch, by_mail) is None
        put(user, by_mail)
        assert plaintext(generated) is None

    def test_an_older_batchs_ciphertext_is_not_shown_for_the_current_one(self, user, generated):
        old, secret = sealed(user), cookie(generated)
        generated.send("recovery_generate", confirm="on")
        put(user, old)
        generated.cookies[stash.COOKIE] = secret
        assert plaintext(generated) is None

    @pytest.mark.parametrize("position", [0, 11, 12, -1])
    def test_an_altered_ciphertext_opens_nothing(self, user, generated, position):
        raw = bytearray(base64.urlsafe_b64decode(sealed(user)))
        raw[position] ^= 1
        put(user, base64.urlsafe_b64encode(raw).decode())
        assert opened(user, *parts(generated)) is None
        assert plaintext(generated) is None

    def test_a_key_that_has_become_a_fallback_still_opens_it(self, generated, settings):
        """R-13"""
        old = settings.DJANGO_AUTH_RECOVERY_KEY
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [old]
        assert plaintext(generated).codes
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
        assert plaintext(generated) is None

    def test_neither_repr_shows_a_code(self, user, generated):
        stashed = opened(user, *parts(generated))
        shown = plaintext(generated)
        assert stashed.codes == shown.codes
        assert not any(code in repr(stashed) + repr(shown) for code in stashed.codes)

    def test_a_fault_while_sealing_leaves_the_older_codes_as_they_are(
        self, user, codes, browser, monkeypatch
    ):
        def broken(*args, **kwargs):
            raise RuntimeError("a fault")

        monkeypatch.setattr("recovery_backend.stash.seal", broken)
        before = active(user)
        with pytest.raises(RuntimeError):
            browser.send("recovery_generate", confirm="on")
        assert active(user) == before
        assert before.codes_left() == len(codes)

    def test_a_user_without_a_password_field_gets_codes(self, user, browser, monkeypatch):
        monkeypatch.setattr(type(user), "password", None)
        browser.send("recovery_generate")
        assert plaintext(browser).codes

    def test_a_session_that_is_written_back_by_a_slower_request_loses_and_revives_nothing(
        self, user, browser, settings
    ):
        """Django writes whole sessions: the last of two parallel requests wins."""
        slower = dict(browser.session.items())
        browser.send("recovery_generate")
        overwrite(browser, slower)
        assert plaintext(browser).codes
        slower = dict(browser.session.items())
        secret = cookie(browser)
        browser.send("recovery_saved")
        overwrite(browser, slower)
        browser.cookies[stash.COOKIE] = secret
        assert plaintext(browser) is None
        assert browser.send_json("recovery_download").json()["code"] == "PlaintextGone"


def overwrite(browser, values):
    session = browser.session
    for name in set(session.keys()) - set(values):
        del session[name]
    session.update(values)
    session.save()


@pytest.mark.usefixtures("with_and_without_middleware")
class TestEnd:
    """R-71, R-72"""

    def test_it_ends_by_the_clock(self, user, generated, clock):
        generated.send("recovery_generate", confirm="on")
        clock.shift(TTL - 1)
        assert plaintext(generated).seconds_left == 1
        clock.shift(1)
        assert is_gone(generated, user)

    def test_the_lifetime_is_a_setting(self, user, browser, clock, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_STASH_TTL = 60
        browser.send("recovery_generate")
        assert browser.cookies[stash.COOKIE]["max-age"] == 60
        clock.shift(60)
        assert is_gone(browser, user)

    def test_an_altered_expiry_in_the_session_prolongs_nothing(self, user, browser, clock):
        browser.send("recovery_generate")
        session, key = browser.session, parts(browser)
        noted = session[stash.SESSION_KEY]
        session[stash.SESSION_KEY] = {**noted, "expires_at": noted["expires_at"] + 10**6}
        session.save()
        clock.shift(TTL)
        assert opened(user, *key) is None
        assert plaintext(browser) is None
        assert browser.send_json("recovery_download").json()["code"] == "PlaintextGone"

    def test_signing_out_ends_it(self, user, generated):
        assert generated.send("recovery_logout").status_code == 302
        assert cookie(generated) == ""
        generated.force_login(user)
        assert is_gone(generated, user)

    def test_signing_out_elsewhere_on_the_site_ends_it(self, user, generated):
        generated.logout()
        generated.force_login(user)
        assert is_gone(generated, user)

    def test_signing_in_as_somebody_else_ends_it(self, user, generated, make_user, make_codes):
        other = make_user("other@example.com")
        [code] = make_codes(other, number_of_codes=1)
        secret = cookie(generated)
        generated.post(LOGIN, {"email": other.email, "recovery_code": code})
        assert generated.session["_auth_user_id"] == str(other.pk)
        generated.cookies[stash.COOKIE] = secret
        assert plaintext(generated) is None
        generated.force_login(user)
        generated.cookies[stash.COOKIE] = secret
        assert plaintext(generated) is None

    def test_signing_in_again_as_the_same_user_keeps_it(self, user, generated):
        generated.post("/password/", {"username": user.username, "password": PASSWORD})
        assert plaintext(generated).codes

    def test_new_codes_in_another_browser_end_it(self, user, generated, make_browser):
        other = make_browser(user)
        other.send("recovery_generate", confirm="on")
        assert plaintext(generated) is None
        assert plaintext(other).codes

    def test_saying_that_they_are_saved_ends_it(self, user, generated, events):
        secret = cookie(generated)
        generated.send("recovery_saved")
        assert not sealed(user)
        assert cookie(generated) == ""
        generated.cookies[stash.COOKIE] = secret
        assert plaintext(generated) is None
        assert ("stash.wiped", "") in events()

    def test_a_new_password_ends_it_also_where_the_session_is_kept(self, user, generated, events):
        user.set_password("another horse")
        user.save()
        session = generated.session
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()  # update_session_auth_hash()
        session.save()
        assert is_gone(generated, user)
        assert ("stash.expired", "") in events()

    def test_a_new_password_elsewhere_ends_it_with_the_session(self, user, generated):
        user.set_password("another horse")
        user.save()
        assert generated.open().status_code == 302
        generated.force_login(user)
        assert plaintext(generated) is None

    def test_a_new_address_ends_it(self, user, generated):
        user.email = "new@example.com"
        user.save()
        assert is_gone(generated, user)

    def test_deleting_all_codes_ends_it(self, user, generated):
        generated.send("recovery_delete_all", confirm="on")
        assert is_gone(generated, user)

    def test_deleting_all_codes_in_another_browser_ends_it(self, user, generated, make_browser):
        make_browser(user).send("recovery_delete_all", confirm="on")
        assert is_gone(generated, user)

    def test_it_ends_when_every_delivery_is_made(
        self, user, generated, settings, django_capture_on_commit_callbacks
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
        assert plaintext(generated).codes
        assert generated.send("recovery_download").status_code == 200
        assert plaintext(generated) is not None
        with django_capture_on_commit_callbacks(execute=True):
            generated.send("recovery_email")
        generated.open()
        assert not sealed(user)
        assert cookie(generated) == ""

    def test_the_page_that_ends_it_offers_nothing_any_more(
        self, user, generated, settings, django_capture_on_commit_callbacks
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
        assert plaintext(generated).codes
        generated.send("recovery_download")
        with django_capture_on_commit_callbacks(execute=True):
            generated.send("recovery_email")
        assert is_gone(generated, user)

    def test_retiring_its_key_ends_it(self, user, generated, settings):
        [old] = [key.id for key in keyring()]
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [settings.DJANGO_AUTH_RECOVERY_KEY]
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        call_command("recovery_keys", "retire", old, "--force", stdout=StringIO())
        assert is_gone(generated, user)

    def test_without_e_mail_showing_and_downloading_is_every_delivery(
        self, user, generated, settings
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_CODES = False
        generated.open()
        assert generated.send("recovery_download").status_code == 200
        assert is_gone(generated, user)


class TestMiddleware:
    """R-71: expired plaintext goes with whatever page that reads the session."""

    def test_another_page_drops_it(self, user, browser, clock):
        user.is_staff = True
        user.save()
        browser.send("recovery_generate")
        browser.get("/admin/")
        assert sealed(user)
        clock.shift(TTL)
        assert browser.get("/admin/").status_code == 200
        assert not sealed(user)
        assert stash.SESSION_KEY not in browser.session

    def test_a_page_that_reads_no_session_does_not_read_it_for_this(
        self, generated, statements, clock
    ):
        """R-150"""
        clock.shift(TTL)
        with statements() as queries:
            assert generated.get("/").status_code == 200
        assert queries == []

    def test_a_fault_while_dropping_costs_nobody_the_page(
        self, user, generated, clock, monkeypatch
    ):
        user.is_staff = True
        user.save()
        clock.shift(TTL)

        def broken(*args, **kwargs):
            raise RuntimeError("a fault")

        monkeypatch.setattr("recovery_backend.flows.drop_stale_plaintext", broken)
        assert generated.get("/admin/").status_code == 200


class TestCookie:
    def test_scripts_and_other_sites_never_get_it(self, generated, settings):
        morsel = generated.cookies[stash.COOKIE]
        assert morsel["httponly"] is True
        assert morsel["samesite"] == "Strict"
        assert morsel["path"] == "/auth/recovery-codes/"
        assert morsel["max-age"] == TTL
        assert not morsel["secure"]
        assert not morsel["domain"]

    def test_it_is_secure_where_the_session_is(self, browser, settings):
        settings.SESSION_COOKIE_SECURE = True
        browser.send("recovery_generate")
        assert browser.cookies[stash.COOKIE]["secure"] is True

    def test_it_is_secure_over_https(self, browser):
        browser.post("/auth/recovery-codes/generate/", secure=True)
        assert browser.cookies[stash.COOKIE]["secure"] is True

    def test_it_is_written_once(self, generated):
        assert stash.COOKIE not in generated.open().cookies

    def test_one_that_opens_nothing_is_taken_back(self, browser):
        browser.cookies[stash.COOKIE] = "0" * 64
        morsel = browser.open().cookies[stash.COOKIE]
        assert (morsel.value, morsel["max-age"]) == ("", 0)
        assert morsel["path"] == "/auth/recovery-codes/"

    def test_a_browser_without_codes_gets_none(self, browser):
        assert stash.COOKIE not in browser.open().cookies


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NEARLY_NOTED = st.fixed_dictionaries(
    {
        "batch": st.uuids().map(str) | JSON_VALUES,
        "expires_at": st.floats() | JSON_VALUES,
        "owner": st.text() | JSON_VALUES,
    }
)
SEALED = st.text() | st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode())
COOKIES = st.text(max_size=80) | st.text(min_size=64, max_size=64)


@given(noted=JSON_VALUES | NEARLY_NOTED, text=SEALED, secret=COOKIES)
def test_no_garbage_in_session_row_or_cookie_ever_raises(noted, text, secret):
    """R-70"""
    request = RequestFactory().get("/")
    request.session = SessionBase("key")
    request.session._session_cache = {stash.SESSION_KEY: noted}
    request.META["HTTP_COOKIE"] = f"{stash.COOKIE}={secret}"
    user = get_user_model()(pk=1, email="owner@example.com", password="hash")
    assert stash.read(request, user, uuid4(), text) is None
    assert stash.is_noted(request)
    assert stash.is_over(request, user) in {True, False}
    stash.noted_batch(request)
    stash.forget(request)
    assert not stash.is_noted(request)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {},
        {"batch": "x", "expires_at": 0.0, "owner": ""},
        {"batch": "-" * 36, "expires_at": 1e308, "owner": "x"},
        {"batch": str(uuid4()), "expires_at": 0.0, "owner": ""},
        {"batch": 10**30, "expires_at": 0.0, "owner": ""},
    ],
)
def test_garbage_in_the_session_is_dropped_by_the_page(browser: Browser, user, value):
    session = browser.session
    session[stash.SESSION_KEY] = value
    session.save()
    browser.cookies[stash.COOKIE] = "0" * 64
    assert is_gone(browser, user)


def test_without_time_zones_codes_are_shown_and_end(user, browser, settings, clock):
    settings.USE_TZ = False
    browser.send("recovery_generate")
    assert plaintext(browser).codes
    for file_format in ("txt", "csv", "pdf"):
        browser.send("recovery_generate", confirm="on")
        assert browser.send("recovery_download", format=file_format).status_code == 200
    clock.shift(TTL)
    assert is_gone(browser, user)


def test_a_page_of_older_codes_does_not_take_the_newer_ones_away(user, browser):
    browser.send("recovery_generate")
    older = active(user).public_id
    browser.send("recovery_generate", confirm="on")
    answer = browser.send_json("recovery_saved", batch=older)
    assert (answer.status_code, answer.json()["code"]) == (400, "NoActiveBatch")
    assert plaintext(browser).codes


def test_dropping_costs_nothing_where_nothing_is_kept(user, make_request, statements):
    request = make_request()
    request.user, request.session = user, {}
    with statements() as queries:
        flows.drop_stale_plaintext(request)
    assert queries == []
