"""What scripts are answered."""

from __future__ import annotations

import pytest

from tests.conftest import DASHBOARD
from tests.dashboard.conftest import ACTIONS


class TestJson:
    @pytest.mark.parametrize("name", [name for name in ACTIONS if name != "recovery_download"])
    def test_a_done_action_says_so_and_where_to_go(self, generated, name):
        answer = generated.send_json(name, confirm="on", recovery_code=generated.codes[0])
        assert answer.status_code == 200
        assert answer["Content-Type"] == "application/json"
        assert set(answer.json()) == {"detail", "redirect_to"}
        assert answer.json()["redirect_to"] == DASHBOARD
        assert not any(code in answer.text for code in generated.codes)

    def test_a_download_is_the_file_all_the_same(self, generated):
        answer = generated.send_json("recovery_download")
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain")

    def test_a_problem_has_a_code_and_a_text(self, generated):
        answer = generated.send_json("recovery_delete", recovery_code="x")
        assert answer.status_code == 400
        assert set(answer.json()) == {"code", "detail"}

    def test_json_leaves_no_message_for_the_next_page(self, generated):
        generated.send_json("recovery_delete", recovery_code="x")
        generated.send_json("recovery_saved")
        context = generated.open().context
        assert context["problems"] == {} and context["messages"] == []
