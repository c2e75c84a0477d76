"""Codes that allauth generates itself, taken over at once: its pages stay, its seed does not."""

from __future__ import annotations

import json
import logging
import re

import pytest
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.webauthn.internal import auth as webauthn_auth
from django.contrib.auth import authenticate
from django.core import mail, serializers
from django.core.management import call_command
from django.test import RequestFactory
from django.urls import reverse
from django.views.debug import ExceptionReporter
from recovery_backend_allauth import adoption, marker

from recovery_backend import stash
from recovery_backend.codes import PresentedCode
from recovery_backend.models import RecoveryCode, RecoveryCodeAudit, RecoveryCodeBatch, adopt
from tests.conftest import LOGIN, PASSWORD, Browser
from tests.test_canary import every_cell
from tests.unwrapping import unwrapped
from tests.with_allauth.conftest import AUTHENTICATE, add_passkey, add_totp, totp_now

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.with_allauth.adoption_urls"),
]

VIEW = "/accounts/2fa/recovery-codes/"
GENERATE = "/accounts/2fa/recovery-codes/generate/"
DOWNLOAD = "/accounts/2fa/recovery-codes/download/"
HEADLESS = "/_allauth/browser/v1/account/authenticators/recovery-codes"
APP = "/_allauth/app/v1/account/authenticators/recovery-codes"
SENTENCE = "Codes are shown once"


@pytest.fixture(autouse=True)
def adopting(settings):
    settings.MFA_SUPPORTED_TYPES = ["recovery_codes", "totp", "webauthn"]
    settings.DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES = True


@pytest.fixture
def seeds(monkeypatch):
    """Every seed that allauth makes."""
    made = []
    stock = RecoveryCodes.generate_seed

    def generate_seed(cls):
        made.append(stock())
        return made[-1]

    monkeypatch.setattr(RecoveryCodes, "generate_seed", classmethod(generate_seed))
    return made


@pytest.fixture
def owner(make_user):
    user = make_user()
    add_totp(user)
    return user


def confirmed(user, **kwargs):
    """A browser in which this user has signed in, and given the second factor again just now."""
    browser = Browser(**kwargs)
    login = {"login": user.username, "password": PASSWORD}
    assert browser.post(reverse("account_login"), login).status_code == 302
    if Authenticator.objects.filter(user=user, type="totp").exists():
        assert browser.post(AUTHENTICATE, {"code": totp_now()}).status_code == 302
    browser.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    return browser


def shown(response):
    """The codes that a page or a file of allauth's shows."""
    return re.findall(r"\b\d{8}\b", response.content.decode())


def generated(browser):
    answer = browser.post(GENERATE)
    assert answer.status_code == 302 and answer["Location"] == VIEW, answer.content
    return shown(browser.get(VIEW))


def left_of(*secrets):
    """The tables in which one of these can be read."""
    needles = [secret.encode() for secret in secrets]
    return {
        table
        for table, cell in every_cell()
        for layer in unwrapped(cell)
        if any(needle in layer for needle in needles)
    }


class TestGenerating:
    def test_the_page_shows_the_codes_and_the_tables_hold_none(self, owner, seeds):
        """R-10, R-70: not the seed either, in any table."""
        browser = confirmed(owner)
        codes = generated(browser)
        assert len(codes) == len(set(codes)) == 10
        assert len(seeds) == 1
        assert left_of(*codes, *seeds) == set()

    def test_the_scan_finds_what_allauth_itself_would_leave(self, owner, seeds, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES = False
        assert len(generated(confirmed(owner))) == 10
        assert left_of(*seeds) == {"mfa_authenticator"}

    def test_the_seed_is_in_no_statement(self, owner, seeds, statements):
        """So it is in no write-ahead log and no replica."""
        browser = confirmed(owner)
        with statements() as said:
            codes = generated(browser)
        assert said and not [sql for sql in said for secret in (*codes, *seeds) if secret in sql]

    def test_they_are_shown_once(self, owner):
        """R-74: the second look shows placeholders, and a sentence."""
        browser = confirmed(owner)
        assert len(generated(browser)) == 10
        again = browser.get(VIEW)
        assert shown(again) == [] and SENTENCE in again.content.decode()
        assert again.content.decode().count("•" * 8) == 10

    def test_they_can_be_downloaded_once_after_they_were_shown(self, owner):
        """R-76."""
        browser = confirmed(owner)
        codes = generated(browser)
        assert shown(browser.get(DOWNLOAD)) == codes
        again = browser.get(DOWNLOAD)
        assert shown(again) == [] and SENTENCE in again.content.decode()
        assert not RecoveryCodeBatch.objects.exclude(sealed="").exists()

    def test_or_before(self, owner):
        browser = confirmed(owner)
        browser.post(GENERATE)
        codes = shown(browser.get(DOWNLOAD))
        assert len(codes) == 10 and shown(browser.get(VIEW)) == codes
        assert not RecoveryCodeBatch.objects.exclude(sealed="").exists()

    def test_shown_once_means_no_file_either(self, owner, settings):
        settings.MFA_RECOVERY_CODES_SHOW_ONCE = True
        browser = confirmed(owner)
        assert len(generated(browser)) == 10
        assert shown(browser.get(VIEW)) == []
        assert SENTENCE in browser.get(VIEW).content.decode()
        assert browser.get(DOWNLOAD).status_code == 403
        assert not RecoveryCodeBatch.objects.exclude(sealed="").exists()

    def test_no_cache_keeps_the_page(self, owner):
        """R-75."""
        browser = confirmed(owner)
        browser.post(GENERATE)
        page = browser.get(VIEW)
        assert len(shown(page)) == 10
        assert "no-store" in page["Cache-Control"] and "private" in page["Cache-Control"]

    def test_a_prefetch_uses_up_no_look(self, owner):
        browser = confirmed(owner)
        browser.post(GENERATE)
        assert shown(browser.get(VIEW, headers={"Sec-Purpose": "prefetch"})) == []
        assert len(shown(browser.get(VIEW))) == 10

    def test_they_are_gone_when_their_time_is_over(self, owner, clock):
        """R-71."""
        browser = confirmed(owner)
        browser.post(GENERATE)
        clock.shift(901)
        browser.post(reverse("account_reauthenticate"), {"password": PASSWORD})
        assert shown(browser.get(VIEW)) == []

    def test_another_session_of_the_owner_sees_none(self, owner):
        """R-70."""
        browser = confirmed(owner)
        browser.post(GENERATE)
        other = Browser()
        other.force_login(owner)
        other.post(reverse("account_reauthenticate"), {"password": PASSWORD})
        page = other.get(VIEW)
        assert page.status_code == 200 and shown(page) == []
        assert len(shown(browser.get(VIEW))) == 10

    def test_the_session_without_the_browsers_cookie_sees_none(self, owner):
        """R-70: a copied session is not enough."""
        browser = confirmed(owner)
        browser.post(GENERATE)
        kept = browser.cookies.pop(stash.COOKIE)
        assert kept["httponly"] and kept["path"] == "/"
        assert shown(browser.get(VIEW)) == []

    def test_signing_out_ends_what_could_be_shown(self, owner):
        """R-72."""
        browser = confirmed(owner)
        browser.post(GENERATE)
        answer = browser.post(reverse("account_logout"))
        assert answer.cookies[stash.COOKIE]["max-age"] == 0
        assert answer.cookies[stash.COOKIE]["path"] == "/"
        assert not RecoveryCodeBatch.objects.exclude(sealed="").exists()

    def test_our_dashboard_neither_shows_them_nor_calls_that_a_fault(self, owner, events):
        browser = confirmed(owner)
        browser.post(GENERATE)
        page = browser.open()
        assert page.context["plaintext"] is None
        assert ("stash.decrypt_fail", "") not in events()
        codes = shown(browser.get(VIEW))
        assert len(codes) == 10
        assert not [code for code in codes if code in page.content.decode()]

    def test_a_code_that_was_used_meanwhile_is_not_in_the_list(self, owner, before_step):
        browser = confirmed(owner)
        browser.post(GENERATE)
        codes = shown(browser.get(VIEW))
        before_step(owner).post(AUTHENTICATE, {"code": codes[3]})
        assert shown(browser.get(DOWNLOAD)) == codes[:3] + codes[4:]

    def test_each_look_is_recorded_and_no_code_is(self, owner, events):
        browser = confirmed(owner)
        codes = generated(browser)
        browser.get(DOWNLOAD)
        names = [event for event, _reason in events(user=owner)]
        assert names.count("batch.adopted") == 1
        assert names.count("batch.viewed") == names.count("batch.downloaded") == 1
        row = RecoveryCodeAudit.objects.get(event="recovery.batch.adopted")
        assert row.data == {"number_of_codes": 10, "number_ended": 0, "is_replacement": False}
        assert row.actor == owner and row.address == "127.0.0.1"
        assert not [code for code in codes if code in json.dumps(row.data)]

    def test_no_log_line_holds_a_code(self, owner, seeds, caplog):
        caplog.set_level(logging.DEBUG)
        codes = generated(confirmed(owner))
        assert caplog.text
        assert not [secret for secret in (*codes, *seeds) if secret in caplog.text]

    def test_the_owner_is_told(self, owner, at_once):
        generated(confirmed(owner))
        assert [message.subject for message in mail.outbox if "codes" in message.subject]

    def test_and_by_allauth_alone_where_it_does_so_itself(self, owner, at_once, settings):
        settings.ACCOUNT_EMAIL_NOTIFICATIONS = True
        browser = confirmed(owner)
        mail.outbox.clear()
        generated(browser)
        assert len([message for message in mail.outbox if "odes" in message.subject]) == 1


@pytest.mark.parametrize(
    "holder",
    [
        "recovery_backend.codes.stored_short_form",
        "recovery_backend.audit.record",
        "recovery_backend.models.adopted.known_digests",
        "recovery_backend.stash.seal",
        "recovery_backend_allauth.marker.sync",
    ],
)
def test_a_fault_leaves_no_code_in_its_report_and_no_row(owner, seeds, monkeypatch, holder):
    """R-84."""
    browser = confirmed(owner)

    def fail(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(holder, fail)
    with pytest.raises(RuntimeError) as caught:
        browser.post(GENERATE)
    report = ExceptionReporter(
        RequestFactory().post(GENERATE), caught.type, caught.value, caught.tb
    )
    text = report.get_traceback_text() + report.get_traceback_html()
    assert "_adopt_fresh" in text
    stock = RecoveryCodes(Authenticator(data={"seed": seeds[0], "used_mask": 0}))
    assert not [code for code in stock.generate_codes() if code in text]
    assert not Authenticator.objects.filter(type="recovery_codes").exists()
    assert not RecoveryCodeBatch.objects.exists()


class TestUsing:
    def test_each_code_completes_one_sign_in(self, owner, before_step):
        codes = generated(confirmed(owner))
        first = before_step(owner)
        assert first.post(AUTHENTICATE, {"code": codes[0]}).status_code == 302
        assert first.session["_auth_user_id"] == str(owner.pk)
        assert before_step(owner).post(AUTHENTICATE, {"code": codes[0]}).status_code == 200
        assert RecoveryCode.objects.filter(status="used").count() == 1

    def test_none_signs_in_with_the_address(self, owner, post_code, events):
        """Twenty-six bits are too few for a page that asks for nothing else."""
        code, *_rest = generated(confirmed(owner))
        assert post_code(owner.email, code).status_code == 200
        assert authenticate(None, email=owner.email, recovery_code=code) is None
        assert ("login.success", "") not in events()
        assert RecoveryCode.objects.usable().count() == 10

    def test_guesses_of_short_codes_are_recorded(self, owner, before_step, events):
        """R-115; what could be the code of an authenticator app is not called a guess."""
        generated(confirmed(owner))
        browser = before_step(owner)
        browser.post(AUTHENTICATE, {"code": "123456"})
        assert ("mfa.fallback_fail", "unknown") not in events()
        browser.post(AUTHENTICATE, {"code": "12345678"})
        assert events().count(("mfa.fallback_fail", "unknown")) == 1

    def test_the_page_of_factors_tells_of_them_once(self, owner):
        browser = confirmed(owner)
        generated(browser)
        page = browser.get(reverse("mfa_index")).content.decode()
        assert "10 of 10 codes left." in page and "out of 10 recovery codes" not in page

    def test_allauths_panel_stays_until_its_list_is_taken_over(self, owner, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES = False
        browser = confirmed(owner)
        generated(browser)
        settings.DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES = True
        page = browser.get(reverse("mfa_index")).content.decode()
        assert "There are 10 out of 10" in page

    def test_nor_if_its_row_were_found(self, owner):
        """By the row's own word too, not by its digest alone."""
        code, *_rest = generated(confirmed(owner))
        presented = PresentedCode(code)
        assert RecoveryCode.objects.presented(presented) is None
        row = RecoveryCode.objects.presented_by(owner, presented)
        assert row.is_sealed(presented)
        assert row.refusal(presented, owner.email) == "policy"

    def test_another_user_with_the_same_code_has_one_of_their_own(self, owner, make_user):
        other = make_user()
        for user in (owner, other):
            adopt(user, [("12345678", False)], replaces=False)
        rows = [
            RecoveryCode.objects.presented_by(user, PresentedCode("1234 5678"))
            for user in (owner, other)
        ]
        assert [row.user for row in rows] == [owner, other]

    def test_allauths_counts_are_right(self, owner, before_step):
        browser = confirmed(owner)
        codes = generated(browser)
        before_step(owner).post(AUTHENTICATE, {"code": codes[0]})
        assert "There are 9 out of 10" in browser.get(VIEW).content.decode()

    def test_without_this_package_every_code_is_refused(self, owner):
        """The row is inert: stock allauth finds no code in it."""
        codes = generated(confirmed(owner))
        row = Authenticator.objects.get(user=owner, type="recovery_codes")
        assert not [code for code in codes if RecoveryCodes(row).validate_code(code)]


class TestGeneratingAgain:
    def test_the_new_codes_replace_the_old_ones(self, owner, before_step):
        browser = confirmed(owner)
        old, new = generated(browser), generated(browser)
        assert len(set(old) & set(new)) == 0
        assert before_step(owner).post(AUTHENTICATE, {"code": old[0]}).status_code == 200
        assert before_step(owner).post(AUTHENTICATE, {"code": new[0]}).status_code == 302
        assert RecoveryCodeBatch.objects.filter(status="active").count() == 1

    def test_allauth_replaces_what_our_dashboard_generated(self, owner, before_step):
        browser = confirmed(owner)
        ours = browser.generate()
        generated(browser)
        assert before_step(owner).post(AUTHENTICATE, {"code": ours[0]}).status_code == 200

    def test_our_dashboard_replaces_what_allauth_generated(self, owner, before_step):
        browser = confirmed(owner)
        theirs = generated(browser)
        ours = browser.generate()
        assert before_step(owner).post(AUTHENTICATE, {"code": theirs[0]}).status_code == 200
        assert before_step(owner).post(AUTHENTICATE, {"code": ours[0]}).status_code == 302
        assert shown(browser.get(VIEW)) == []

    def test_a_browser_that_was_trusted_is_asked_again(self, owner):
        browser = confirmed(owner)
        generated(browser)
        before = Authenticator.objects.get(user=owner, type="recovery_codes").data["seed"]
        generated(browser)
        assert Authenticator.objects.get(type="recovery_codes").data["seed"] != before


class TestTheFirstFactor:
    def activate(self, browser):
        page = browser.get(reverse("mfa_activate_totp"))
        secret = page.context["form"].secret
        return browser.post(reverse("mfa_activate_totp"), {"code": totp_now(secret)})

    def test_codes_come_with_it(self, make_user, seeds):
        browser = confirmed(make_user())
        assert self.activate(browser)["Location"] == VIEW
        codes = shown(browser.get(VIEW))
        assert len(codes) == 10 and left_of(*codes, *seeds) == set()

    def test_who_has_codes_already_keeps_them(self, make_user, make_codes, before_step):
        user = make_user()
        ours = make_codes(user)
        assert self.activate(confirmed(user)).status_code == 302
        row = Authenticator.objects.get(user=user, type="recovery_codes")
        assert marker.is_marker(row)
        assert RecoveryCode.objects.usable().count() == len(ours)
        assert before_step(user).post(AUTHENTICATE, {"code": ours[0]}).status_code == 302

    def test_codes_come_with_a_passkey_too(self, make_user, monkeypatch, seeds):
        user = make_user()
        browser = confirmed(user)

        def add(cls, user, name, credential):
            return webauthn_auth.WebAuthn(add_passkey(user, name))

        monkeypatch.setattr(webauthn_auth.WebAuthn, "add", classmethod(add))
        for check in ("parse_registration_response", "complete_registration"):
            monkeypatch.setattr(webauthn_auth, check, lambda raw: raw)
        answer = browser.post(
            reverse("mfa_add_webauthn"), {"name": "Key", "credential": json.dumps({"id": "x"})}
        )
        assert answer.status_code == 302, answer.content
        codes = shown(browser.get(VIEW))
        assert len(codes) == 10 and left_of(*codes, *seeds) == set()


class TestHeadless:
    def test_a_post_answers_with_the_codes_and_a_get_with_none(self, owner, seeds):
        browser = confirmed(owner)
        answer = browser.post(HEADLESS, content_type="application/json").json()["data"]
        assert answer["total_code_count"] == answer["unused_code_count"] == 10
        codes = answer["unused_codes"]
        assert len(set(codes)) == 10 and all(re.fullmatch(r"\d{8}", code) for code in codes)
        assert left_of(*codes, *seeds) == set()
        again = browser.get(HEADLESS).json()["data"]
        assert again["unused_code_count"] == 10
        assert set(again["unused_codes"]) == {"•" * 8}

    def test_a_get_shows_what_came_with_the_first_factor(self, owner):
        browser = confirmed(owner)
        browser.post(GENERATE)
        assert len(set(browser.get(HEADLESS).json()["data"]["unused_codes"])) == 10
        assert set(browser.get(HEADLESS).json()["data"]["unused_codes"]) == {"•" * 8}

    def test_the_list_of_factors_counts_and_shows_nothing(self, owner):
        browser = confirmed(owner)
        browser.post(GENERATE)
        answer = browser.get("/_allauth/browser/v1/account/authenticators")
        (row,) = [one for one in answer.json()["data"] if one["type"] == "recovery_codes"]
        assert row["total_code_count"] == row["unused_code_count"] == 10
        assert shown(answer) == []
        assert len(shown(browser.get(VIEW))) == 10

    def test_an_app_without_cookies_gets_them_too(self, make_user, client, seeds):
        user = make_user()

        def call(method, path, token=None, **data):
            headers = {"X-Session-Token": token} if token else {}
            call = getattr(client.__class__(), method)
            return call(
                f"/_allauth/app/v1/{path}", data or None, "application/json", headers=headers
            )

        answer = call("post", "auth/login", username=user.username, password=PASSWORD).json()
        token = answer["meta"]["session_token"]
        path = "account/authenticators/totp"
        call("post", "auth/reauthenticate", token, password=PASSWORD)
        secret = call("get", path, token).json()["meta"]["secret"]
        activated = call("post", path, token, code=totp_now(secret))
        assert activated.status_code == 200, activated.content
        first = call("get", "account/authenticators/recovery-codes", token)
        codes = first.json()["data"]["unused_codes"]
        assert len(set(codes)) == 10 and left_of(*codes, *seeds) == set()
        again = call("get", "account/authenticators/recovery-codes", token)
        assert set(again.json()["data"]["unused_codes"]) == {"•" * 8}
        renewed = call("post", "account/authenticators/recovery-codes", token)
        assert len(set(renewed.json()["data"]["unused_codes"]) - set(codes)) == 10


class TestWhatIsLeftAlone:
    def test_with_the_setting_off(self, owner, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES = False
        generated(confirmed(owner))
        assert "used_mask" in Authenticator.objects.get(type="recovery_codes").data
        assert not RecoveryCode.objects.exists()

    def test_with_codes_turned_off(self, owner, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
        generated(confirmed(owner))
        assert not RecoveryCode.objects.exists()

    def test_a_row_that_is_made_outside_of_a_request(self, owner):
        """Nobody could be shown its codes: the command takes it over."""
        codes = RecoveryCodes.activate(owner).get_unused_codes()
        assert len(set(codes)) == 10
        assert adoption.is_stock(Authenticator.objects.get(type="recovery_codes"))

    def test_a_row_that_is_loaded(self, owner, tmp_path):
        RecoveryCodes.activate(owner)
        rows = Authenticator.objects.filter(type="recovery_codes")
        file = tmp_path / "rows.json"
        file.write_text(serializers.serialize("json", rows))
        rows.delete()
        call_command("loaddata", str(file), verbosity=0)
        assert adoption.is_stock(rows.get()) and not RecoveryCode.objects.exists()
        adoption.take_over(rows.get().pk)
        call_command("loaddata", str(file), verbosity=0)
        assert adoption.is_stock(rows.get())


def test_a_stale_request_does_not_bring_the_seed_back(owner):
    RecoveryCodes.activate(owner)
    stale = Authenticator.objects.get(type="recovery_codes")
    adoption.take_over(stale.pk)
    RecoveryCodes(stale).mark_as_viewed()
    assert marker.is_marker(Authenticator.objects.get(type="recovery_codes"))


class Adapter(DefaultMFAAdapter):
    """Encrypts, as its documentation asks a site to do."""

    def encrypt(self, text):
        return f"locked:{text[::-1]}"

    def decrypt(self, encrypted_text):
        assert encrypted_text.startswith("locked:")
        return encrypted_text.removeprefix("locked:")[::-1]


def test_an_adapter_that_encrypts_is_asked_to_decrypt(make_user, settings, seeds, before_step):
    settings.MFA_ADAPTER = f"{__name__}.Adapter"
    user = make_user()
    browser = confirmed(user)
    TestTheFirstFactor().activate(browser)
    codes = shown(browser.get(VIEW))
    assert len(codes) == 10
    assert left_of(*codes, *seeds, *(seed[::-1] for seed in seeds)) == set()
    assert browser.get(VIEW).status_code == 200


class TestOnOurPages:
    def owner_of(self, user, make_browser):
        adopt(user, [("12345678", False), ("23456789", False)], replaces=False)
        return make_browser(user)

    def test_the_dashboard_says_what_they_are_good_for(self, user, make_browser):
        page = self.owner_of(user, make_browser).open()
        said = " ".join(page.content.decode().split())
        assert "2 of them are short codes. They work after your password only" in said
        assert "After the password only" in said

    def test_it_says_nothing_of_them_where_there_are_none(self, generated):
        assert b"short code" not in generated.open().content

    @pytest.mark.parametrize("name", ["recovery_invalidate", "recovery_delete"])
    def test_one_can_be_taken_out_of_use(self, user, make_browser, name):
        """R-46."""
        browser = self.owner_of(user, make_browser)
        browser.send(name, recovery_code="1234 5678")
        assert RecoveryCode.objects.usable().of_user(user).count() == 1

    def test_not_one_of_somebody_else(self, user, make_user, make_browser):
        self.owner_of(user, make_browser)
        make_browser(make_user()).send("recovery_delete", recovery_code="12345678")
        assert RecoveryCode.objects.usable().count() == 2

    def test_a_test_of_one_tells_nothing(self, user, make_browser, make_codes):
        """R-33: it would be a way to guess codes that allauth does not count."""
        make_codes(user)
        browser = self.owner_of(user, make_browser)
        right = browser.send_json("recovery_verify_setup", recovery_code="12345678")
        wrong = browser.send_json("recovery_verify_setup", recovery_code="87654321")
        assert (right.status_code, right.content) == (wrong.status_code, wrong.content)
        assert right.status_code == 400

    def test_and_is_not_offered_where_there_are_no_others(self, user, make_browser, make_codes):
        browser = self.owner_of(user, make_browser)
        assert not browser.open().context["can_verify"]
        make_codes(user)
        assert browser.open().context["can_verify"]

    def test_they_outlive_the_list_that_they_joined(self, user, make_browser, make_codes, clock):
        """They never had an end; the page does not say that all is over."""
        make_codes(user, days_to_expire=1)
        browser = self.owner_of(user, make_browser)
        clock.shift(2 * 86400)
        browser.force_login(user)
        overview = browser.open().context["overview"]
        assert overview.is_expired and overview.left == 2
        assert b"Only those that you had before still work" in browser.open().content

    def test_the_sign_in_page_refuses_them(self, user, make_browser, client):
        self.owner_of(user, make_browser)
        answer = client.post(LOGIN, {"email": user.email, "recovery_code": "12345678"})
        assert answer.status_code == 200 and "_auth_user_id" not in client.session
