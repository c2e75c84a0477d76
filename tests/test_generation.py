"""New codes: who may have them, and how often (R-44, R-62)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeBatch,
)
from tests.conftest import DASHBOARD, WRONG_CODE
from tests.owner import active, row_of, rows, set_up, usable

HERE = "127.0.0.1"


class TestGenerate:
    def test_codes_of_the_configured_number_are_ready(self, user, browser, settings, events):
        set_up(settings, NUMBER_OF_CODES=4)
        response = browser.send("recovery_generate")
        assert (response.status_code, response.url) == (302, DASHBOARD)
        assert usable(user) == 4
        assert events() == [("batch.generated", "")]
        [row] = RecoveryCodeAudit.objects.all()
        assert (row.user, row.actor, row.address) == (user, user, HERE)

    @pytest.mark.parametrize(
        ("typed", "days"), [("", None), ("1", 1), ("3650", 3650), (" 7 ", 7), (None, None)]
    )
    def test_days_are_bounded_whole_numbers_or_none(self, user, browser, clock, typed, days):
        data = {} if typed is None else {"days_to_expire": typed}
        assert browser.send_json("recovery_generate", **data).status_code == 200
        expected = timezone.now() + timedelta(days=days) if days else None
        assert active(user).expires_at == expected
        assert set(RecoveryCode.objects.values_list("expires_at", flat=True)) == {expected}

    @pytest.mark.parametrize(
        "typed",
        ["0", "-1", "3651", "abc", "1e9", "1.5", "0x10", "9" * 5000, "nan", "\x00", "--1", "1;2"],
    )
    def test_other_days_are_a_problem_and_nothing_happens(self, user, browser, typed):
        answer = browser.send_json("recovery_generate", days_to_expire=typed)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
        response = browser.send("recovery_generate", days_to_expire=typed)
        assert response.url == f"{DASHBOARD}#generate"
        assert "generate" in browser.open().context["problems"]
        assert not RecoveryCodeBatch.objects.exists()
        assert not RecoveryCodeCooldown.objects.exists()

    def test_replacing_is_asked_before_and_not_counted(self, user, generated):
        """R-138"""
        before = rows()
        for answer in ("", "off", "true", "ON"):
            for _ in range(3):
                response = generated.send("recovery_generate", confirm=answer, days_to_expire="9")
                assert response.status_code == 200
                assert response.templates[0].name == "recovery_backend/confirm.html"
        assert dict(response.context["fields"]) == {"days_to_expire": 9, "confirm": "on"}
        answer = generated.send_json("recovery_generate")
        assert (answer.status_code, answer.json()["code"]) == (400, "confirm")
        assert rows() == before
        assert RecoveryCodeCooldown.objects.get().failures == 1

    def test_once_confirmed_new_codes_replace_the_old_ones(self, user, generated, events):
        old = generated.codes
        new = generated.generate()
        assert not set(old) & set(new)
        assert {row_of(code).status for code in old} == {"invalidated"}
        assert {row_of(code).status for code in new} == {"active"}
        assert ("batch.regenerated", "") in events()

    def test_without_active_codes_nothing_is_asked(self, user, generated):
        generated.send("recovery_delete_all", confirm="on")
        assert generated.send("recovery_generate").status_code == 302
        assert usable(user) == 10


class TestGenerationPace:
    """R-62: the first five of a day are free, then each makes the next one wait."""

    @pytest.fixture
    def generate(self, browser, clock):
        return lambda: browser.send("recovery_generate", confirm="on")

    def test_waits_grow(self, user, generate, clock):
        waits = []
        for _ in range(5):
            assert generate().status_code == 302
        for _ in range(4):
            response = generate()
            assert response.status_code == 429
            waits.append(int(response["Retry-After"]))
            clock.shift(waits[-1])
            assert generate().status_code == 302
        assert waits == [60, 120, 240, 480]

    def test_a_refused_one_changes_nothing_and_says_how_long(self, browser, generate, events):
        for _ in range(5):
            generate()
        before = rows()
        for _ in range(3):
            response = generate()
        assert (response.status_code, response["Retry-After"]) == (429, "60")
        assert response.context["wait_seconds"] == 60
        assert response.context["waiting_for"] == "generate"
        answer = browser.send_json("recovery_generate", confirm="on")
        assert (answer.status_code, answer["Retry-After"]) == (429, "60")
        assert (answer.json()["code"], answer.json()["wait_seconds"]) == ("cooldown", 60)
        assert rows() == before
        assert events().count(("action.throttled", "cooldown")) == 1

    def test_a_quiet_day_is_a_new_start(self, generate, clock):
        for _ in range(5):
            generate()
        clock.shift(60)
        generate()
        clock.shift(timedelta(days=1, seconds=120))
        assert [generate().status_code for _ in range(6)] == [302] * 5 + [429]

    def test_another_user_on_the_same_network_is_free(self, generate, make_user, make_browser):
        for _ in range(6):
            generate()
        other = make_browser(make_user())
        assert other.send("recovery_generate").status_code == 302

    def test_a_stranger_cannot_cause_it(self, user, generate, post_code, make_user, make_browser):
        stranger = make_user()
        for _ in range(8):
            post_code(user.email, WRONG_CODE, HERE)
            make_browser(stranger).send("recovery_generate", confirm="on")
        assert generate().status_code == 302

    def test_it_does_not_close_signing_in(self, user, browser, generate, post_code):
        for _ in range(6):
            generate()
        code = browser.open().context["plaintext"].codes[0]
        assert post_code(user.email, code, HERE).status_code == 302
