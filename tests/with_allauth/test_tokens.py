"""R-38: a token that nobody was given is refused before anything may read it as another."""

from __future__ import annotations

import pytest

from tests.with_allauth.test_proofs import access_token, session_token

pytestmark = pytest.mark.django_db
REFUSED = (401, "not_authenticated")
OPEN = "/"


def told(answer):
    return answer.status_code, answer.json()["code"]


@pytest.fixture
def session_key(user, browser_with):
    return browser_with(user).session.session_key


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1] + "é",
        lambda key: f"{key}\x7f",
        lambda key: f"{key[:4]} {key[4:]}",
        lambda key: f"{key}\xa0",
        lambda key: f"\u2028{key}",
    ],
    ids=["accent", "control character", "space", "space of another kind", "line separator"],
)
@pytest.mark.parametrize(
    "how",
    [
        "X-Session-Token",
        "Bearer ",
        "bearer\t",
        "Bearer\x1c",
        "\tBearer ",
        "\x0cBearer ",
        " \xa0Bearer ",
    ],
)
def test_one_that_no_token_looks_like_opens_nothing_at_all(client, session_key, change, how):
    token = change(session_key)
    headers = {how: token} if how[0] == "X" else {"Authorization": f"{how}{token}"}
    assert told(client.get(OPEN, headers=headers)) == REFUSED


def test_nor_beside_a_cookie(user, browser_with, session_key):
    browser = browser_with(user)
    headers = {"X-Session-Token": session_key[:-1] + "é"}
    assert told(browser.get(OPEN, headers=headers)) == REFUSED
    assert browser.get(OPEN).status_code == 200


def test_a_signature_with_junk_in_it(user, browser_with, client):
    """Some versions of PyJWT skip what is no base64."""
    header, payload, signature = access_token(browser_with(user))["Authorization"].split(".")
    junk = f"{signature[:8]}\x7f\x7f\x7f\x7f{signature[8:]}"
    headers = {"Authorization": f"{header}.{payload}.{junk}"}
    assert told(client.get(OPEN, headers=headers)) == REFUSED


@pytest.mark.parametrize("carry", [session_token, access_token])
def test_those_that_look_right_go_on(user, browser_with, client, carry):
    assert client.get(OPEN, headers=carry(browser_with(user))).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic dMO8cjrDtnA=", "Basic ü", "Bearertoken é", "Api-Key a b", "Bearer", "Bearer "],
)
def test_what_other_schemes_say_is_not_ours_to_judge(client, authorization):
    assert client.get(OPEN, headers={"Authorization": authorization}).status_code == 200


def test_nor_is_it_where_the_site_gives_out_none(client, session_key, monkeypatch):
    headers = {"X-Session-Token": f"{session_key}é", "Authorization": "Bearer é"}
    monkeypatch.setattr("allauth.app_settings.HEADLESS_ENABLED", False, raising=False)
    assert client.get(OPEN, headers=headers).status_code == 200


def test_nor_a_bearer_of_another_library(client, settings):
    settings.HEADLESS_JWT_PRIVATE_KEY, settings.HEADLESS_JWT_ALGORITHM = "", "RS256"
    assert client.get(OPEN, headers={"Authorization": "Bearer a b"}).status_code == 200
