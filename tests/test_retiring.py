"""Codes that their owner takes out of service (R-46, R-138)."""

from __future__ import annotations

import pytest

from recovery_backend import signals
from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeBatch,
)
from tests.conftest import DASHBOARD, WRONG_CODE
from tests.owner import active, row_of, rows, usable


class TestRetire:
    """R-46"""

    CASES = [("recovery_invalidate", "invalidated"), ("recovery_delete", "deleted")]

    @pytest.mark.parametrize("typed", ["{}", " 3. {} ", "{}\n", "\u200b{}"])
    @pytest.mark.parametrize(("name", "status"), CASES)
    def test_one_code_ends_however_it_is_typed(
        self, user, generated, name, status, typed, try_code, events
    ):
        code = generated.codes[0]
        spelled = typed.format(code.replace("-", " \u2014 "))
        assert generated.send(name, recovery_code=spelled).url == DASHBOARD
        assert row_of(code).status == status
        assert usable(user) == 9
        assert events()[-1] == (f"code.{status}", "")
        assert try_code(user.email, code) is None

    @pytest.mark.parametrize(("name", "status"), CASES)
    def test_twice_a_used_one_and_foreign_ones_are_refused_alike(
        self, user, generated, name, status, try_code, make_user, make_codes
    ):
        gone, used, *_rest = generated.codes
        generated.send(name, recovery_code=gone)
        try_code(user.email, used)
        foreign = make_codes(make_user(), number_of_codes=1)[0]
        before, answers = rows(), set()
        for code in (gone, used, foreign, WRONG_CODE, "x", "", "\x00" * 500):
            answer = generated.send_json(name, recovery_code=code)
            answers.add((answer.status_code, answer.text))
            assert answer.json()["code"] == "CodeRefused"
        assert len(answers) == 1
        assert rows() == before

    def test_a_row_that_was_moved_by_hand_is_refused(self, user, generated, make_user, make_codes):
        """R-17"""
        moved = make_codes(make_user(), number_of_codes=1)[0]
        RecoveryCode.objects.filter(pk=row_of(moved).pk).update(user=user)
        assert generated.send_json("recovery_delete", recovery_code=moved).status_code == 400
        assert row_of(moved).status == "active"

    def test_an_invalidated_code_can_be_deleted_and_not_the_reverse(self, generated):
        code = generated.codes[0]
        generated.send("recovery_invalidate", recovery_code=code)
        generated.send("recovery_delete", recovery_code=code)
        assert row_of(code).status == "deleted"
        generated.send("recovery_invalidate", recovery_code=code)
        assert row_of(code).status == "deleted"

    @pytest.mark.parametrize("name", ["recovery_invalidate", "recovery_delete"])
    def test_receivers_hear_of_it(self, user, generated, committed, name):
        heard = []

        def receiver(sender, **payload):
            heard.append((payload["user"], payload["batch"], payload["number_of_codes"]))

        signals.code_invalidated.connect(receiver)
        try:
            with committed():
                generated.send(name, recovery_code=generated.codes[0])
        finally:
            signals.code_invalidated.disconnect(receiver)
        assert heard == [(user, active(user), 1)]


class TestDeleteAll:
    """R-46, R-138"""

    def test_it_is_asked_before(self, user, generated):
        before = rows()
        batch = str(active(user).public_id)
        response = generated.send("recovery_delete_all", batch=batch)
        assert response.status_code == 200
        assert response.templates[0].name == "recovery_backend/confirm.html"
        assert {name: str(value) for name, value in response.context["fields"]} == {
            "batch": batch,
            "confirm": "on",
        }
        assert generated.send_json("recovery_delete_all").json()["code"] == "confirm"
        assert rows() == before

    def test_once_confirmed_no_code_works_any_more(self, user, generated, try_code, events):
        used, *others = generated.codes
        try_code(user.email, used)
        response = generated.send("recovery_delete_all", confirm="on")
        assert (response.status_code, response.url) == (302, DASHBOARD)
        assert usable(user) == 0
        assert row_of(used).status == "used"
        assert {row_of(code).status for code in others} == {"deleted"}
        assert RecoveryCodeBatch.objects.get().status == "deleted"
        assert events()[-1] == ("batch.deleted", "")
        assert RecoveryCodeAudit.objects.latest("pk").data == {"number_of_codes": 9}

    def test_twice_is_a_problem(self, user, generated):
        generated.send("recovery_delete_all", confirm="on")
        before = rows()
        answer = generated.send_json("recovery_delete_all", confirm="on")
        assert answer.json()["code"] == "NoActiveBatch"
        assert rows() == before

    def test_another_users_codes_stay(self, generated, make_user, make_codes):
        other = make_user()
        make_codes(other)
        generated.send("recovery_delete_all", confirm="on")
        assert usable(other) == 3
