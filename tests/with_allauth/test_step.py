"""A code wherever the pages of allauth ask for the second factor."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core import mail
from django.db import DatabaseError
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ
from recovery_backend_allauth import marker

from recovery_backend.keys import generate_key
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeCooldown,
    RecoveryCodeQuerySet,
)
from recovery_backend.signals import code_rejected, code_used
from tests.conftest import LOGIN, WRONG_CODE, Browser
from tests.with_allauth.conftest import (
    AUTHENTICATE,
    REAUTHENTICATE,
    SECRET,
    add_totp,
    methods_of,
    totp_now,
)

pytestmark = pytest.mark.django_db

SUCCESS = {"step completed": 1, "factor used": 1, "code used": 1, "owner notified": 1}
SIGN_IN = {**SUCCESS, "allauth signed in": 1, "django signed in": 1}


def used():
    return RecoveryCode.objects.filter(status="used").count()


def is_signed_in(browser, user):
    return browser.session.get("_auth_user_id") == str(user.pk)


def marker_of(user):
    return Authenticator.objects.get(user=user, type="recovery_codes")


@pytest.fixture
def after_password(before_step):
    return before_step


@pytest.fixture
def after_code_by_mail():
    def before(user):
        browser = Browser()
        browser.post(reverse("account_request_login_code"), {"email": user.email})
        code = re.search(r"^[A-Z0-9-]{6,9}$", mail.outbox[-1].body, re.MULTILINE)[0]
        answer = browser.post(reverse("account_confirm_login_code"), {"code": code})
        assert answer["Location"] == AUTHENTICATE
        return browser

    return before


@pytest.fixture
def after_social_login():
    def before(user):
        SocialAccount.objects.create(user=user, provider="dummy", uid="7")
        browser = Browser()
        form = browser.post(reverse("dummy_login"))["Location"]
        assert browser.post(form, {"id": "7"})["Location"] == AUTHENTICATE
        return browser

    return before


@pytest.fixture(params=["totp_user", "passkey_user"])
def owner(request):
    """A user with codes and TOTP, or a passkey alone: `(user, codes)`."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(
    ("first", "method"),
    [
        ("after_password", "password"),
        ("after_code_by_mail", "code"),
        ("after_social_login", "socialaccount"),
    ],
)
def test_a_code_completes_the_sign_in_once(
    request, owner, first, method, heard, events, committed
):
    """R-21, R-36: one code, one audit row, one notice, and each signal of allauth once."""
    user, codes = owner
    browser = request.getfixturevalue(first)(user)
    heard.clear()
    with committed():
        answer = browser.post(AUTHENTICATE, {"code": codes[0]})
    assert answer.status_code == 302 and is_signed_in(browser, user)
    assert methods_of(browser) == [(method, None), ("mfa", "recovery_codes")]
    assert heard == SIGN_IN
    assert events()[-1] == ("mfa.fallback_used", "")
    assert events().count(("mfa.fallback_used", "")) == 1
    assert used() == 1
    assert [row.task["func"] for row in OrmQ.objects.all()] == [
        "recovery_backend.tasks.send_notice"
    ]
    assert abs(marker_of(user).last_used_at - timezone.now()) < timedelta(seconds=60)


def test_the_audit_names_owner_batch_code_and_place(totp_user, before_step):
    user, codes = totp_user
    before_step(user).post(AUTHENTICATE, {"code": codes[0]})
    row = RecoveryCodeAudit.objects.get(event="recovery.mfa.fallback_used")
    code = RecoveryCode.objects.get(status="used")
    assert (row.user, row.actor, row.batch, row.code) == (user, user, code.batch_id, code.pk)
    assert (row.address, row.path) == ("127.0.0.1", AUTHENTICATE)


def test_a_used_code_is_refused(totp_user, before_step, heard, events, committed):
    """R-21, R-22"""
    user, codes = totp_user
    before_step(user).post(AUTHENTICATE, {"code": codes[0]})
    again = before_step(user)
    heard.clear()
    with committed():
        answer = again.post(AUTHENTICATE, {"code": codes[0]})
    assert answer.status_code == 200 and not is_signed_in(again, user)
    assert heard == {"factor failed": 1, "code rejected": 1}
    assert events()[-1] == ("mfa.fallback_fail", "used")


def test_a_wrong_code_is_refused_and_said_once(owner, before_step, heard, events, committed):
    user, _ = owner
    browser = before_step(user)
    heard.clear()
    with committed():
        answer = browser.post(AUTHENTICATE, {"code": WRONG_CODE})
    assert answer.status_code == 200
    assert list(answer.context["form"].errors) == ["code"]
    assert heard == {"factor failed": 1, "code rejected": 1}
    assert events()[-1] == ("mfa.fallback_fail", "unknown")
    assert methods_of(browser) == [("password", None)]


def test_receivers_are_told_after_the_commit_and_get_no_code(totp_user, before_step, committed):
    user, codes = totp_user
    browser, told = before_step(user), []

    def hear(signal, sender, **payload):
        told.append((signal, payload))

    code_rejected.connect(hear)
    code_used.connect(hear)
    try:
        with committed():
            for code in (WRONG_CODE, codes[0]):
                browser.post(AUTHENTICATE, {"code": code})
            assert told == []
    finally:
        code_rejected.disconnect(hear)
        code_used.disconnect(hear)
    [(first, rejected), (second, accepted)] = told
    assert (first, rejected["reason"]) == (code_rejected, "unknown")
    assert (second, accepted["user"]) == (code_used, user)
    shown = repr([(payload, vars(payload["audit"])) for _, payload in told])
    assert not [
        group for code in (WRONG_CODE, codes[0]) for group in code.split("-") if group in shown
    ]


@pytest.mark.parametrize("typed", ["000000", "12345678", "no code at all", "\x00", "x" * 5000])
def test_what_was_meant_for_another_factor_is_no_event_of_ours(
    totp_user, before_step, events, typed
):
    user, _ = totp_user
    browser = before_step(user)
    before = events()
    assert browser.post(AUTHENTICATE, {"code": typed}).status_code == 200
    assert events() == before


def test_totp_still_works_beside_codes(totp_user, before_step):
    user, _ = totp_user
    browser = before_step(user)
    assert browser.post(AUTHENTICATE, {"code": totp_now()}).status_code == 302
    assert methods_of(browser)[-1] == ("mfa", "totp")
    assert used() == 0


@pytest.mark.parametrize("separator", ["-", " ", ""])
@pytest.mark.parametrize("line", ["{}", " {} ", "3. {}", "{}\n"])
def test_a_code_may_be_typed_as_it_was_printed(totp_user, before_step, line, separator):
    user, codes = totp_user
    code = line.format(codes[0].replace("-", separator))
    assert before_step(user).post(AUTHENTICATE, {"code": code}).status_code == 302


def test_the_last_code_still_signs_in(make_user, make_codes, before_step, committed):
    """The marker goes with it, in the middle of the request."""
    user = make_user()
    add_totp(user)
    with committed():
        (code,) = make_codes(user, 1)
    browser = before_step(user)
    with committed():
        answer = browser.post(AUTHENTICATE, {"code": code})
    assert answer.status_code == 302 and is_signed_in(browser, user)


@pytest.mark.django_db(transaction=True)
def test_the_last_code_signs_in_though_its_marker_is_gone(totp_user, before_step, heard):
    """Each statement commits, so the marker goes between spending and recording."""
    user, codes = totp_user
    RecoveryCode.objects.exclude(pk=RecoveryCode.objects.first().pk).delete()
    kept = RecoveryCode.objects.get()
    browser = before_step(user)
    heard.clear()
    answers = [browser.post(AUTHENTICATE, {"code": code}).status_code for code in codes]
    kept.refresh_from_db()
    assert kept.status == "used"
    assert 302 in answers and is_signed_in(browser, user)
    assert heard["factor used"] == 1 and methods_of(browser)[-1] == ("mfa", "recovery_codes")
    assert not Authenticator.objects.filter(user=user, type="recovery_codes").exists()


@pytest.fixture
def signed_in(totp_user, before_step):
    """A browser in which the second factor was given, with the user and the codes."""
    user, codes = totp_user
    browser = before_step(user)
    browser.post(AUTHENTICATE, {"code": totp_now()})
    assert is_signed_in(browser, user)
    browser.codes = codes
    return browser


def test_a_code_confirms_a_sign_in(signed_in, heard, events, committed):
    heard.clear()
    with committed():
        answer = signed_in.post(REAUTHENTICATE, {"code": signed_in.codes[0]})
    assert answer.status_code == 302
    record = signed_in.session["account_authentication_methods"][-1]
    assert (record["method"], record["type"]) == ("mfa", "recovery_codes")
    assert record["reauthenticated"] is True
    assert heard == SUCCESS
    assert events()[-1] == ("mfa.fallback_used", "")
    assert used() == 1


def test_a_wrong_code_confirms_nothing(signed_in, heard, committed):
    heard.clear()
    with committed():
        answer = signed_in.post(REAUTHENTICATE, {"code": WRONG_CODE})
    assert answer.status_code == 200
    assert heard == {"factor failed": 1, "code rejected": 1}
    assert methods_of(signed_in) == [("password", None), ("mfa", "totp")]


class TestLimit:
    """R-50, R-57: allauth's own limit holds for the step, and for the step alone."""

    def fail(self, browser, times, url=AUTHENTICATE):
        for _ in range(times):
            browser.post(url, {"code": WRONG_CODE})

    def test_after_five_failures_the_right_code_is_refused_and_kept(
        self, totp_user, before_step, clock, events
    ):
        user, codes = totp_user
        browser = before_step(user)
        self.fail(browser, 5)
        before = events()
        answer = browser.post(AUTHENTICATE, {"code": codes[0]})
        assert answer.status_code == 200 and used() == 0
        assert events() == before
        assert before_step(user).post(AUTHENTICATE, {"code": codes[0]}).status_code == 200
        assert used() == 0
        clock.shift(301)
        assert browser.post(AUTHENTICATE, {"code": codes[0]}).status_code == 302

    def test_a_success_forgets_the_failures(self, totp_user, before_step):
        user, codes = totp_user
        for code in codes:
            browser = before_step(user)
            self.fail(browser, 4)
            assert browser.post(AUTHENTICATE, {"code": code}).status_code == 302

    def test_it_also_holds_where_a_sign_in_is_confirmed(self, signed_in):
        self.fail(signed_in, 5, REAUTHENTICATE)
        answer = signed_in.post(REAUTHENTICATE, {"code": signed_in.codes[0]})
        assert answer.status_code == 200 and used() == 0

    def test_failures_at_the_step_cost_nothing_on_the_page_of_address_and_code(
        self, totp_user, before_step, post_code
    ):
        user, codes = totp_user
        self.fail(before_step(user), 6)
        assert not RecoveryCodeCooldown.objects.exists()
        assert post_code(user.email, codes[0], address="127.0.0.1").status_code == 302

    def test_failures_on_that_page_cost_nothing_at_the_step(
        self, totp_user, before_step, post_code
    ):
        user, codes = totp_user
        browser = before_step(user)
        answers = [post_code(user.email, WRONG_CODE, address="127.0.0.1") for _ in range(7)]
        assert answers[-1].status_code == 429
        assert browser.post(AUTHENTICATE, {"code": codes[0]}).status_code == 302

    def test_a_wait_on_that_page_is_not_lifted_by_the_step(
        self, totp_user, before_step, post_code
    ):
        user, codes = totp_user
        for _ in range(7):
            post_code(user.email, WRONG_CODE, address="127.0.0.1")
        before_step(user).post(AUTHENTICATE, {"code": codes[0]})
        assert post_code(user.email, codes[1], address="127.0.0.1").status_code == 429


class TestBefore:
    """R-36: there is no second step without a first one, in this session, of this user, just now."""

    def test_without_a_first_factor(self, totp_user):
        _, codes = totp_user
        answer = Browser().post(AUTHENTICATE, {"code": codes[0]})
        assert answer["Location"] == reverse("account_login") and used() == 0

    def test_with_the_first_factor_of_another_session(self, totp_user, before_step):
        user, codes = totp_user
        before_step(user)
        assert Browser().post(AUTHENTICATE, {"code": codes[0]}).status_code == 302
        assert used() == 0

    def test_with_the_code_of_another_user(
        self, totp_user, make_user, make_codes, before_step, events
    ):
        _, codes = totp_user
        other = make_user()
        add_totp(other)
        make_codes(other)
        marker.sync(other)
        browser = before_step(other)
        assert browser.post(AUTHENTICATE, {"code": codes[0]}).status_code == 200
        assert used() == 0 and not is_signed_in(browser, other)
        row = RecoveryCodeAudit.objects.latest("pk")
        assert (row.event, row.reason) == ("recovery.mfa.fallback_fail", "foreign")
        assert (row.user, row.batch, row.code) == (other, None, None)

    def test_when_the_first_factor_is_long_ago(self, totp_user, before_step, clock):
        user, codes = totp_user
        browser = before_step(user)
        clock.shift(901)
        answer = browser.post(AUTHENTICATE, {"code": codes[0]})
        assert answer["Location"] == reverse("account_login") and used() == 0

    def test_when_the_step_is_done(self, totp_user, before_step):
        user, codes = totp_user
        browser = before_step(user)
        browser.post(AUTHENTICATE, {"code": codes[0]})
        assert browser.post(AUTHENTICATE, {"code": codes[1]}).status_code == 302
        assert used() == 1

    def test_when_the_session_has_signed_out(self, signed_in):
        signed_in.post(reverse("account_logout"))
        signed_in.post(AUTHENTICATE, {"code": signed_in.codes[0]})
        assert used() == 0

    def test_when_another_step_comes_first(self, totp_user):
        """The stage that waits is the code by mail, so the second factor is not asked yet."""
        user, codes = totp_user
        browser = Browser()
        browser.post(reverse("account_request_login_code"), {"email": user.email})
        answer = browser.post(AUTHENTICATE, {"code": codes[0]})
        assert answer["Location"] == reverse("account_login") and used() == 0

    def test_where_a_sign_in_is_confirmed(self, totp_user):
        _, codes = totp_user
        answer = Browser().post(REAUTHENTICATE, {"code": codes[0]})
        assert answer.status_code == 302 and used() == 0

    def test_an_address_and_a_code_are_no_first_factor_for_a_second_code(
        self, totp_user, settings
    ):
        """The page spends its code; the step that follows takes another one."""
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        assert browser.post(AUTHENTICATE, {"code": codes[0]}).status_code == 200
        assert used() == 1 and not is_signed_in(browser, user)


class TestRefused:
    """R-22, R-23, R-31: closed, and no code spent."""

    @pytest.fixture
    def refused(self, totp_user, before_step):
        user, codes = totp_user
        browser = before_step(user)

        def post():
            answer = browser.post(AUTHENTICATE, {"code": codes[0]})
            return answer.status_code == 200 and used() == 0 and not is_signed_in(browser, user)

        post.user = user
        return post

    def test_an_expired_code(self, refused, events):
        RecoveryCode.objects.update(expires_at=timezone.now())
        assert refused()
        assert events()[-1] == ("mfa.fallback_fail", "expired")

    def test_an_invalidated_batch(self, refused, events):
        RecoveryCodeBatch.objects.get().invalidate_codes()
        assert refused()
        assert events()[-1] == ("mfa.fallback_fail", "revoked")

    def test_a_code_that_was_replaced(self, refused, events):
        RecoveryCodeBatch.create_recovery_batch(refused.user)
        assert refused()
        assert events()[-1] == ("mfa.fallback_fail", "revoked")

    def test_a_row_that_was_moved_to_this_user_by_sql(self, refused, events):
        """R-17"""
        RecoveryCode.objects.update(bind=b"x" * 32)
        assert refused()
        assert events()[-1] == ("row.tamper", "tamper")

    def test_a_user_who_was_deactivated_meanwhile(self, refused, events):
        refused.user.is_active = False
        refused.user.save()
        assert refused()

    def test_a_site_without_recovery_codes(self, refused, settings, events):
        """R-35"""
        before = events()
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
        assert refused() and events() == before

    def test_a_lost_key(self, refused, settings):
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        assert refused()

    @pytest.mark.parametrize("method", ["presented_by", "usable"])
    def test_a_failing_database(self, refused, monkeypatch, method):
        def fail(self, *args):
            raise DatabaseError("down")

        monkeypatch.setattr(RecoveryCodeQuerySet, method, fail)
        assert refused()

    def test_a_failing_audit(self, refused, monkeypatch):
        def fail(self, *args, **kwargs):
            raise DatabaseError("down")

        monkeypatch.setattr(RecoveryCodeAudit, "save", fail)
        assert refused()


def test_no_code_is_kept_in_session_audit_or_queue(totp_user, before_step, committed):
    user, codes = totp_user
    browser, wrong = before_step(user), "-".join(["QRSTUV"] * 6)
    with committed():
        browser.post(AUTHENTICATE, {"code": wrong})
        browser.post(AUTHENTICATE, {"code": codes[0]})
    tables = (RecoveryCodeAudit, Authenticator, OrmQ)
    kept = repr([list(model.objects.values()) for model in tables]) + repr(dict(browser.session))
    kept += repr([row.task for row in OrmQ.objects.all()])
    groups = {*codes[0].split("-"), *wrong.split("-")}
    assert not [group for group in groups if group in kept] and SECRET in kept
