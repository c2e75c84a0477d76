"""Where a sign-in leads: to `next`, and nowhere outside the site."""

from __future__ import annotations

import pytest

from tests.conftest import DASHBOARD, LOGIN, WRONG_CODE


class TestNext:
    """R-94"""

    @pytest.mark.parametrize("method", ["POST", "GET"])
    @pytest.mark.parametrize(
        "target",
        [
            "https://evil.example",
            "http://evil.example/auth/",
            "//evil.example",
            "///evil.example",
            "////evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "\\/evil.example",
            "http:\\\\evil.example",
            "https:evil.example",
            "http:///evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://testserver/",
            "\t//evil.example",
            "\x08//evil.example",
            " //evil.example",
            "https://testserver@evil.example",
            "https://testserver.evil.example",
            "//testserver\\@evil.example",
        ],
    )
    def test_an_unsafe_target_is_dropped(self, user, codes, client, target, method):
        data = {"email": user.email, "recovery_code": codes[0]}
        if method == "POST":
            response = client.post(LOGIN, {**data, "next": target})
        else:
            response = client.post(LOGIN, data, query_params={"next": target})
        assert (response.status_code, response.url) == (302, DASHBOARD)
        shown = client.get(LOGIN, {"next": target}).text
        assert 'name="next"' not in shown

    @pytest.mark.parametrize("target", ["/", "/admin/?q=1", "/path/#part", "http://testserver/a/"])
    def test_a_target_of_this_site_is_followed(self, user, codes, client, post_code, target):
        assert f'name="next" value="{target}"' in client.get(LOGIN, {"next": target}).text
        assert post_code(user.email, codes[0], next=target).url == target

    def test_a_refusal_keeps_the_target(self, user, post_code):
        assert 'name="next" value="/admin/"' in (
            post_code(user.email, WRONG_CODE, next="/admin/").text
        )
