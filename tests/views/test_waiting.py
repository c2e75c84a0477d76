"""What a client hears that has to wait, and what stays open to it."""

from __future__ import annotations

import pytest

from recovery_backend.views.page import waiting_text
from tests.conftest import DASHBOARD, JSON, LOGIN, PASSWORD, WRONG_CODE
from tests.owner import usable
from tests.views.conftest import OURS, headers_of, masked


class TestWaiting:
    """R-59"""

    @pytest.fixture
    def wait(self, user, codes, post_code, clock):
        for _ in range(5):
            post_code(user.email, WRONG_CODE)

    def test_a_client_that_has_to_wait_gets_a_429(self, user, codes, wait, post_code, clock):
        clock.shift(18)
        response = post_code(user.email, codes[0])
        assert (response.status_code, response["Retry-After"]) == (429, "42")
        assert "Wait 42 seconds" in response.text
        assert f'value="{user.email}"' in response.text
        assert codes[0] not in response.text

    def test_json_says_it_in_seconds(self, user, codes, wait, post_json):
        response = post_json(user.email, codes[0])
        assert (response.status_code, response["Retry-After"]) == (429, "60")
        assert response.json() == {
            "code": "cooldown",
            "detail": "Too many tries. Wait 1 minute.",
            "wait_seconds": 60,
        }

    def test_the_fifth_refusal_says_how_long_to_wait(self, user, post_code, clock):
        pages = [post_code(user.email, WRONG_CODE) for _ in range(5)]
        assert {page.status_code for page in pages} == {200}
        assert ["data-wait-seconds" in page.text for page in pages] == [False] * 4 + [True]
        assert 'data-wait-seconds="60"' in pages[-1].text

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("rate", ["60/m", "5/m"])
    def test_with_and_without_the_middleware_the_answer_is_the_same(
        self, user, codes, settings, client, clock, headers, rate
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = rate
        data = {"email": user.email, "recovery_code": codes[0]}
        for _ in range(6):
            client.post(LOGIN, {**data, "recovery_code": WRONG_CODE})
        early = client.post(LOGIN, data, headers=headers)
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != OURS]
        late = client.post(LOGIN, data, headers=headers)
        assert early.status_code == late.status_code == 429
        assert masked(early) == masked(late)
        assert headers_of(early) == headers_of(late)
        assert usable(user) == 3

    def test_after_the_wait_the_code_signs_in(self, user, codes, wait, post_code, clock):
        clock.shift(60)
        assert post_code(user.email, codes[0]).status_code == 302

    def test_waits_grow_once_the_free_tries_are_over(self, user, post_code, clock, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 2
        waits = []
        assert post_code(user.email, WRONG_CODE).status_code == 200
        for _ in range(3):
            assert post_code(user.email, WRONG_CODE).status_code == 200
            waits.append(int(post_code(user.email, WRONG_CODE)["Retry-After"]))
            clock.shift(waits[-1])
        assert waits == [60, 120, 240]

    def test_another_network_is_free(self, user, codes, wait, post_code):
        """R-57"""
        assert post_code(user.email, codes[0], "203.0.113.50").status_code == 302

    def test_the_page_itself_can_be_read(self, wait, client):
        assert client.get(LOGIN).status_code == 200

    def test_other_pages_are_free(self, user, wait, client):
        """R-61"""
        response = client.post("/password/", {"username": "owner", "password": PASSWORD})
        assert response.status_code == 302
        assert client.get(DASHBOARD).status_code == 200

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (61, "2 minutes"),
            (3600, "60 minutes"),
        ],
    )
    def test_a_waiting_time_is_rounded_up(self, seconds, text):
        assert waiting_text(seconds) == text
