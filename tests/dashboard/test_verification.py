"""The set-up test: it spends nothing, and tells nothing about other codes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.core.cache import cache
from django.utils import timezone

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models import RecoveryCode, RecoveryCodeSetup
from tests.conftest import DASHBOARD, WRONG_CODE
from tests.dashboard.conftest import HERE
from tests.owner import row_of, rows, set_up, usable


class TestVerify:
    """R-33"""

    def test_a_right_code_passes_and_stays_usable(self, user, generated, try_code, events):
        assert generated.open().context["can_verify"] is True
        response = generated.send("recovery_verify_setup", recovery_code=generated.codes[0])
        assert (response.status_code, response.url) == (302, DASHBOARD)
        assert generated.open().context["can_verify"] is False
        assert events()[-1] == ("batch.verified", "")
        assert usable(user) == 10
        assert try_code(user.email, generated.codes[0]) == user

    def test_it_is_passed_once(self, user, generated, clock):
        generated.send("recovery_verify_setup", recovery_code=generated.codes[0])
        passed_at = RecoveryCodeSetup.objects.get(user=user).verified_at
        clock.shift(60)
        again = generated.send_json("recovery_verify_setup", recovery_code=generated.codes[1])
        assert again.status_code == 200
        assert (
            RecoveryCodeSetup.objects.get(user=user).verified_at
            == passed_at
            == (timezone.now() - timedelta(seconds=60))
        )

    def test_a_success_gives_the_charge_back(self, user, generated):
        for code in generated.codes:
            typed = " 1. " + code.replace("-", "\u2013")
            answer = generated.send_json("recovery_verify_setup", recovery_code=typed)
            assert answer.status_code == 200

    def test_it_gives_back_no_more_than_its_own_charge(self, user, generated, post_code, clock):
        """R-51, R-58: a stranger may have an account with this address, and codes of their own."""
        for _ in range(3):
            post_code(user.email, WRONG_CODE, HERE)
        for code in generated.codes:
            assert generated.send("recovery_verify_setup", recovery_code=code).url == DASHBOARD
        counted = RecoveryCodeCooldown.objects.filter(failures=3, blocked_until=None)
        assert counted.count() == 2
        post_code(user.email, WRONG_CODE, HERE)
        post_code(user.email, WRONG_CODE, HERE)
        answer = generated.send("recovery_verify_setup", recovery_code=generated.codes[0])
        assert (answer.status_code, answer["Retry-After"]) == (429, "60")

    def test_a_wait_that_only_the_test_would_have_caused_is_over(
        self, user, generated, post_code, clock
    ):
        for _ in range(4):
            post_code(user.email, WRONG_CODE, HERE)
        for code in generated.codes[:3]:
            answer = generated.send_json("recovery_verify_setup", recovery_code=code)
            assert answer.status_code == 200
        assert post_code(user.email, WRONG_CODE, HERE).status_code == 200
        assert post_code(user.email, WRONG_CODE, HERE).status_code == 429

    @pytest.fixture
    def others(self, user, browser, make_user, make_codes, try_code):
        """Codes that are not the user's own, unused and current, by what they are."""
        [superseded] = make_codes(user, number_of_codes=1)
        used, expired, invalidated, deleted, usable = make_codes(user, number_of_codes=5)
        try_code(user.email, used)
        long_ago = timezone.now() - timedelta(days=1)
        RecoveryCode.objects.filter(pk=row_of(expired).pk).update(expires_at=long_ago)
        row_of(invalidated).retire(RecoveryCode.Status.INVALIDATED)
        row_of(deleted).retire(RecoveryCode.Status.DELETED)
        moved = make_codes(make_user(), number_of_codes=1)[0]
        RecoveryCode.objects.filter(pk=row_of(moved).pk).update(user=user)
        return {
            "superseded": superseded,
            "used": used,
            "expired": expired,
            "invalidated": invalidated,
            "deleted": deleted,
            "another user's": make_codes(make_user(), number_of_codes=1)[0],
            "another user's with this address": make_codes(make_user(email=user.email))[0],
            "moved by hand": moved,
            "unknown": WRONG_CODE,
            "garbage": "x",
            "nothing": "",
            "hostile": "\x00<script>" * 1000,
        }

    @pytest.mark.parametrize("is_json", [True, False])
    def test_all_other_codes_are_refused_alike(
        self, user, browser, others, statements, is_json, clock
    ):
        answers, costs = {}, {}
        before = rows()
        for kind, code in others.items():
            RecoveryCodeCooldown.objects.all().delete()
            cache.clear()
            send = browser.send_json if is_json else browser.send
            with statements() as queries:
                response = send("recovery_verify_setup", recovery_code=code)
            texts = response.json() if is_json else str(browser.open().context["problems"])
            answers[kind] = (response.status_code, str(texts))
            costs[kind] = len(queries)
        assert len(set(answers.values())) == 1, answers
        assert len(set(costs.values())) == 1, costs
        assert rows() == before

    def test_a_refusal_is_recorded_as_the_users_own(self, user, browser, others):
        browser.send("recovery_verify_setup", recovery_code=others["another user's"])
        row = RecoveryCodeAudit.objects.get(event="recovery.batch.verify_fail")
        assert (row.user, row.actor, row.batch, row.code) == (user, user, None, None)
        assert row.reason == "mismatch"

    def test_without_codes_there_is_nothing_to_test(self, browser):
        answer = browser.send_json("recovery_verify_setup", recovery_code=WRONG_CODE)
        assert (answer.status_code, answer.json()["code"]) == (400, "NoActiveBatch")
        assert not RecoveryCodeCooldown.objects.exists()

    @pytest.mark.parametrize("address", ["", " ", "a@example.com\n.org"])
    def test_without_an_address_no_code_could_work(self, user, browser, address):
        """Such accounts would all share one counter."""
        user.email = address
        user.save()
        [code, *_others] = browser.generate()
        answer = browser.send_json("recovery_verify_setup", recovery_code=code)
        assert (answer.status_code, answer.json()["code"]) == (400, "NoAddress")
        assert RecoveryCodeCooldown.objects.count() == 1  # of the generation

    @pytest.mark.parametrize("is_json", [True, False])
    def test_failures_at_signing_in_make_the_test_wait(
        self, user, generated, post_code, clock, is_json
    ):
        for _ in range(5):
            post_code(user.email, WRONG_CODE, HERE)
        send = generated.send_json if is_json else generated.send
        response = send("recovery_verify_setup", recovery_code=generated.codes[0])
        assert (response.status_code, response["Retry-After"]) == (429, "60")
        if not is_json:
            assert response.context["waiting_for"] == "verify"
        assert not RecoveryCodeSetup.objects.exists()

    def test_failed_tests_make_signing_in_wait(self, user, generated, post_code, clock):
        for _ in range(5):
            generated.send("recovery_verify_setup", recovery_code=WRONG_CODE)
        response = post_code(user.email, generated.codes[0], HERE)
        assert (response.status_code, response["Retry-After"]) == (429, "60")
        assert usable(user) == 10

    def test_a_closed_account_tests_nothing_until_it_has_new_codes(
        self, user, generated, settings, clock
    ):
        """R-52"""
        set_up(settings, HARD_CAP=3)
        for _ in range(3):
            generated.send("recovery_verify_setup", recovery_code=WRONG_CODE)
        answer = generated.send("recovery_verify_setup", recovery_code=generated.codes[0])
        assert answer.status_code == 429
        code = generated.generate()[0]
        answer = generated.send_json("recovery_verify_setup", recovery_code=code)
        assert answer.status_code == 200

    def test_the_owner_is_told_of_many_failures(self, user, generated, clock, settings, committed):
        """R-40"""
        set_up(settings, MAX_LOGIN_ATTEMPTS=100, EMAIL_ASYNC=False)
        for _ in range(10):
            with committed():
                generated.send("recovery_verify_setup", recovery_code=WRONG_CODE)
        assert len(mail.outbox) == 1
