"""How many actions a user may take."""

from __future__ import annotations

import pytest
from django.core.cache import cache

from tests.dashboard.conftest import ACTIONS, HERE
from tests.owner import rows, set_up


class TestActionPace:
    """R-62: CLIENT_RATE for each user, whatever the action."""

    @pytest.mark.parametrize("name", ACTIONS)
    def test_too_many_are_refused_and_change_nothing(self, generated, settings, name, events):
        set_up(settings, CLIENT_RATE="2/m")
        cache.clear()
        for _ in range(2):
            generated.send("recovery_verify_setup")
        before = rows()
        for _ in range(3):
            response = generated.send(name, confirm="on", recovery_code=generated.codes[0])
        assert response.status_code == 429
        assert 1 <= int(response["Retry-After"]) <= 60
        assert response.context["wait_seconds"] == int(response["Retry-After"])
        assert generated.send_json(name).json()["code"] == "cooldown"
        assert rows() == before
        assert events().count(("action.throttled", "client_rate")) == 1

    def test_another_user_is_free(self, generated, settings, make_user, make_browser):
        set_up(settings, CLIENT_RATE="1/m")
        cache.clear()
        for _ in range(3):
            generated.send("recovery_saved")
        other = make_browser(make_user())
        assert other.send("recovery_generate").status_code == 302

    def test_signing_in_and_reading_are_free(self, user, generated, settings, post_code):
        set_up(settings, CLIENT_RATE="1/m")
        cache.clear()
        for _ in range(3):
            generated.send("recovery_saved")
        assert generated.open().status_code == 200
        assert post_code(user.email, generated.codes[0], HERE).status_code == 302
