"""API keys as programs meet them: who they speak for, what refuses them, and what that costs."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone
from recovery_backend_api.keys import tokens
from recovery_backend_api.keys.models import ApiKey
from rest_framework.test import APIClient

from recovery_backend import cooldown
from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.keys import Key, Label, generate_key, write_key
from tests.conftest import LOGIN, WRONG_CODE
from tests.with_api.conftest import HAS_ALLAUTH, told, url
from tests.with_api.keys_site import (
    KEYS,
    PEOPLE_ONLY,
    SESSION_FIRST,
    STATUS,
    WHOAMI,
    WITH_FACTOR,
    WRONG_SECRET,
    ask,
    make_key,
    send,
)

pytestmark = [
    pytest.mark.urls("tests.with_api.keys_site"),
    pytest.mark.services,
    pytest.mark.usefixtures("keys_on"),
]
ELSEWHERE = "203.0.113.9"
GENERATE = url("generate")


@pytest.fixture
def key(user):
    """A key of `user`, with its text in `key.text`."""
    row, text = make_key(user)
    row.text = text
    return row


def attempt(text, path):
    """The answer to a key that tries what no key may do."""
    return send(text, "generate", {}) if path == GENERATE else ask(text, path)


def with_wrong_secret(key):
    return f"{key.prefix}.{WRONG_SECRET}"


def key_events(events):
    return [entry for entry in events() if entry[0].startswith("api_key.")]


class TestUse:
    def test_a_key_speaks_for_its_owner(self, user, key):
        answer = ask(key.text)
        assert answer.json() == {"user": user.pk, "key": key.prefix}

    @pytest.mark.parametrize("scheme", ["Api-Key", "api-key", "API-KEY"])
    def test_the_scheme_is_read_in_capitals_too(self, key, scheme):
        assert ask(key.text, scheme=scheme).status_code == 200

    def test_another_scheme_and_another_prefix_can_be_chosen(self, user, key, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_SCHEME = "Shop-Key"
        settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_PREFIX = "shop"
        new, text = make_key(user)
        assert text.startswith("shop_") and new.prefix.startswith("shop_")
        for known in (text, key.text):
            assert ask(known, scheme="Shop-Key").status_code == 200
        assert ask(text).status_code == 401

    def test_another_scheme_is_left_to_others(self, key, browser):
        assert ask(key.text, client=browser, scheme="Bearer").json()["key"] is None

    def test_a_key_makes_no_session(self, key):
        answer = ask(key.text)
        assert not answer.cookies

    def test_a_wrong_key_is_refused_whatever_cookie_comes_with_it(self, key, browser):
        assert browser.get(WHOAMI).status_code == 200
        assert ask(with_wrong_secret(key), client=browser).status_code == 401

    def test_the_key_decides_and_not_the_cookie(self, key, make_user, make_browser, user):
        assert ask(key.text, client=make_browser(make_user())).json()["user"] == user.pk


class TestOff:
    """Off unless enabled."""

    @pytest.fixture(autouse=True)
    def keys_off(self, keys_on, key, settings):
        del settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED

    def test_every_key_is_refused_and_none_is_looked_for(self, key, statements, events):
        before = events()
        with statements() as asked:
            assert ask(key.text).status_code == 401
        assert asked == []
        assert events() == before

    def test_no_cookie_helps(self, key, browser):
        assert ask(key.text, client=browser).status_code == 401

    def test_people_come_in_as_ever(self, browser):
        assert browser.get(WHOAMI).status_code == 200


def change(**fields):
    return lambda key: ApiKey.objects.filter(pk=key.pk).update(**fields)


def as_of_yesterday():
    return timezone.now() - timedelta(days=1)


def made_inactive(key):
    key.user.is_active = False
    key.user.save()


REFUSED = {
    "unknown": (lambda key: f"rbk_000000000000.{WRONG_SECRET}", None, "unknown"),
    "wrong secret": (with_wrong_secret, None, "unknown"),
    "revoked": (None, lambda key: key.revoke(), "revoked"),
    "expired": (None, lambda key: change(expires_at=as_of_yesterday())(key), "expired"),
    "inactive": (None, made_inactive, "inactive"),
    "empty": (lambda key: "", None, "unknown"),
    "prefix alone": (lambda key: key.prefix, None, "unknown"),
    "secret alone": (lambda key: key.text.partition(".")[2], None, "unknown"),
    "cut": (lambda key: key.text[:-1], None, "unknown"),
    "longer": (lambda key: f"{key.text}0", None, "unknown"),
    "two": (lambda key: f"{key.text} {key.text}", None, "unknown"),
    "capitals": (lambda key: key.text.upper(), None, "unknown"),
    "strange": (lambda key: "\xe4.\x00" * 1000, None, "unknown"),
}


class TestRefusal:
    @pytest.fixture(params=REFUSED, ids=str)
    def refused(self, request, key):
        """The text of a key that must be refused, and the reason that is recorded."""
        spell, spoil, reason = REFUSED[request.param]
        if spoil:
            spoil(key)
        return (spell(key) if spell else key.text), reason

    def test_whatever_is_wrong_it_is_answered_alike(self, refused, key_answer):
        """R-26"""
        answer = ask(refused[0])
        assert (answer.status_code, answer.text) == (401, key_answer)
        assert answer["WWW-Authenticate"] == "Api-Key"

    @pytest.fixture
    def key_answer(self):
        """What a program hears whose key nobody has."""
        answer = ask(f"rbk_ffffffffffff.{WRONG_SECRET}", address=ELSEWHERE)
        RecoveryCodeAudit.objects.all()._raw_delete("default")
        return answer.text

    def test_the_reason_is_recorded_once_an_hour(self, refused, events, clock):
        text, reason = refused
        for _ in range(3):
            ask(text)
        assert key_events(events)[1:] == [("api_key.refused", reason)]
        clock.shift(timedelta(hours=1, seconds=1))
        ask(text)
        assert key_events(events)[1:] == [("api_key.refused", reason)] * 2

    def test_it_costs_one_look_up_and_the_same_digests(
        self, refused, key, statements, monkeypatch
    ):
        """R-26: an unknown prefix is no cheaper, so that nobody learns which ones there are."""
        made = []
        genuine = Key.mac
        monkeypatch.setattr(
            Key,
            "mac",
            lambda key, label, *parts: made.append(label) or genuine(key, label, *parts),
        )
        ask(refused[0])
        made.clear()
        with statements() as asked:
            ask(refused[0])
        assert len(asked) == 1
        assert "recovery_backend_api_keys_apikey" in asked[0]
        assert made.count("api_key") == 1

    def test_a_key_that_was_given_to_another_user_by_hand_is_refused(self, key, make_user):
        """R-17"""
        change(user=make_user())(key)
        assert ask(key.text).status_code == 401

    def test_a_prefix_that_was_changed_by_hand_is_refused(self, key):
        """R-17"""
        change(prefix="rbk_aaaaaaaaaaaa")(key)
        assert ask(key.text.replace(key.prefix, "rbk_aaaaaaaaaaaa")).status_code == 401

    def test_the_row_names_the_key_only_where_there_is_one(self, key):
        ask(with_wrong_secret(key))
        row = RecoveryCodeAudit.objects.latest("pk")
        assert (row.user_id, row.actor_id, row.data) == (key.user_id, None, {"prefix": key.prefix})
        ask(f"rbk_000000000000.{WRONG_SECRET}", address=ELSEWHERE)
        row = RecoveryCodeAudit.objects.latest("pk")
        assert (row.user_id, row.address, row.data) == (None, ELSEWHERE, {})


class TestCost:
    def test_a_used_key_costs_one_look_up(self, key, statements):
        ask(key.text)
        with statements() as asked:
            assert ask(key.text).status_code == 200
        [look_up] = asked
        assert look_up.startswith("SELECT") and key.prefix in look_up

    @pytest.mark.skipif(
        connection.vendor != "sqlite", reason="only SQLite plans a table of one row as a large one"
    )
    def test_the_look_up_is_by_an_index(self, key):
        assert "(prefix=?)" in ApiKey.objects.filter(prefix=key.prefix).explain()

    def test_use_is_noted_once_a_minute(self, key, clock):
        def last_used():
            return ApiKey.objects.get(pk=key.pk).last_used_at

        assert last_used() is None
        ask(key.text)
        first = last_used()
        assert first == timezone.now()
        clock.shift(59)
        ask(key.text)
        assert last_used() == first
        clock.shift(1)
        ask(key.text)
        assert last_used() == timezone.now()

    def test_use_is_recorded_once_an_hour(self, key, clock, events):
        for _ in range(18):
            ask(key.text)
            clock.shift(timedelta(minutes=10))
        used = [name for name, _reason in key_events(events)].count("api_key.used")
        assert used in {3, 4}, "in three hours, the first of which may have begun before"

    def test_a_refused_key_is_not_used(self, key):
        key.revoke()
        ask(key.text)
        assert ApiKey.objects.get(pk=key.pk).last_used_at is None


class TestRate:
    """R-54: wrong keys are counted as tries to sign in with a code, of their network."""

    @pytest.fixture(autouse=True)
    def three_a_minute(self, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "3/m"

    def test_wrong_keys_are_limited_by_network(self, key, events):
        answers = [ask(with_wrong_secret(key)) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 3
        assert 0 < int(answers[-1]["Retry-After"]) <= 60
        assert events()[1:] == [("api_key.refused", "unknown"), ("login.throttled", "client_rate")]
        assert RecoveryCodeAudit.objects.get(event="recovery.login.throttled").user is None
        assert ask(with_wrong_secret(key), address=ELSEWHERE).status_code == 401

    def test_the_api_says_so_in_its_own_form(self, key):
        """R-59"""
        answers = [ask(with_wrong_secret(key), STATUS) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [401] * 3 + [429]
        last = answers[-1]
        assert told(last) == (429, "cooldown")
        assert str(last.json()["wait_seconds"]) == last["Retry-After"]

    def test_a_stranger_keeps_no_right_key_out(self, key):
        """Not even from the owner's own network."""
        for _ in range(10):
            ask(with_wrong_secret(key))
        assert ask(key.text).status_code == 200
        assert ask(key.text, address=ELSEWHERE).status_code == 200

    def test_they_are_counted_with_the_tries_of_codes(self, user, key, client):
        data = {"email": user.email, "recovery_code": WRONG_CODE}
        for _ in range(3):
            client.post(LOGIN, data, REMOTE_ADDR="198.51.100.7")
        assert ask(with_wrong_secret(key)).status_code == 429

    def test_they_use_up_no_try_of_the_owner_elsewhere(self, user, codes, key, post_code):
        for _ in range(10):
            ask(with_wrong_secret(key), address=ELSEWHERE)
        assert post_code(user.email, codes[0]).status_code == 302

    def test_a_forgotten_program_uses_up_nothing(self, key, user, codes, post_code):
        """Its key is genuine, and no guess: people on its network go on signing in."""
        key.revoke()
        assert {ask(key.text).status_code for _ in range(10)} == {401}
        assert post_code(user.email, codes[0]).status_code == 302

    def test_right_keys_are_not_counted(self, user, key, codes, post_code):
        assert {ask(key.text).status_code for _ in range(10)} == {200}
        assert post_code(user.email, codes[0]).status_code == 302


class TestCacheDown:
    """R-31: closed for wrong keys, and open for right ones, which need no cache."""

    @pytest.fixture
    def no_cache(self, monkeypatch):
        def fail(*args, **kwargs):
            raise ConnectionError

        for name in ("get", "set", "add", "incr"):
            monkeypatch.setattr(type(cache._connections[cache._alias]), name, fail)

    def test_a_wrong_key_is_refused_and_recorded(self, key, no_cache, events):
        assert ask(with_wrong_secret(key)).status_code == 401
        assert key_events(events)[1:] == [("api_key.refused", "unknown")]

    def test_a_right_key_works(self, key, no_cache):
        assert ask(key.text).status_code == 200


def test_a_setting_that_cannot_be_read_is_no_refusal(key, settings):
    """R-147"""
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "often"
    with pytest.raises(ImproperlyConfigured, match="CLIENT_RATE"):
        ask(with_wrong_secret(key))


class TestRotation:
    """R-13"""

    @pytest.fixture
    def rotate(self, settings):
        def rotate():
            name = "DJANGO_AUTH_RECOVERY_KEY_FALLBACKS"
            older = getattr(settings, name, [])
            setattr(settings, name, [settings.DJANGO_AUTH_RECOVERY_KEY, *older])
            settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()

        return rotate

    def test_older_keys_work_while_theirs_is_a_fallback(self, key, rotate):
        rotate()
        rotate()
        assert ask(key.text).status_code == 200

    def test_new_keys_are_made_with_the_new_one(self, user, key, rotate):
        rotate()
        new, text = make_key(user)
        assert new.key_id == write_key().id != key.key_id
        assert ask(text).status_code == 200

    def test_a_key_that_is_gone_ends_its_own_and_brings_them_back(
        self, user, key, rotate, settings
    ):
        rotate()
        _new, text = make_key(user)
        older = settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
        assert (ask(key.text).status_code, ask(text).status_code) == (401, 200)
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = older
        assert ask(key.text).status_code == 200

    def test_no_digest_is_that_of_another_label(self, user, key):
        """R-12"""
        prefix, _, secret = key.text.partition(".")
        seals = [write_key().mac(label, prefix, secret) for label in get_args(Label)]
        assert bytes(key.digest) not in seals

    def test_the_stored_form_of_a_key_stays(self, settings):
        """R-11: what is in users' tables must be found again by every later release."""
        settings.DJANGO_AUTH_RECOVERY_KEY = bytes(range(32)).hex()
        text = f"rbk_0123456789ab.{WRONG_SECRET}"
        assert tokens.stored_digest(text, write_key(), user_id=7).hex() == (
            "11dc6bd4beffea692cc22c6190503971867abef4a6d6b0fae48d42ac3288c877"
        )


class TestLimits:
    """What a key never does, whoever its owner is."""

    def test_what_is_for_people_is_not_for_keys(self, key, browser):
        assert browser.get(PEOPLE_ONLY).status_code == 200
        answer = ask(key.text, PEOPLE_ONLY)
        assert answer.status_code == 403
        assert "sign in" in answer.json()["detail"]

    def test_a_cookie_does_not_lend_it_its_rights(self, key, browser):
        assert ask(key.text, PEOPLE_ONLY, client=browser).status_code == 403

    def test_it_proves_no_second_factor(self, key):
        assert ask(key.text, WITH_FACTOR).status_code == 403

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_one_refusal_has_one_code(self, key, method):
        answer = Client().generic(
            method,
            KEYS,
            "{}",
            content_type="application/json",
            headers={"Authorization": f"Api-Key {key.text}"},
        )
        assert told(answer) == (403, "session_required")

    @pytest.mark.parametrize("path", [PEOPLE_ONLY, KEYS, GENERATE])
    def test_what_it_tries_is_recorded_once_an_hour_and_logged_each_time(
        self, user, key, events, caplog, committed, clock, path
    ):
        """R-122: nothing tells sooner that a key is in strange hands."""
        ask(key.text)
        before = len(events())
        with committed():
            for _ in range(3):
                assert attempt(key.text, path).status_code == 403
        assert caplog.text.count("recovery.authz.denied") == 3
        assert events()[before:] == [("authz.denied", "policy")]
        row = RecoveryCodeAudit.objects.latest("pk")
        assert (row.user, row.actor, row.data) == (user, None, {"prefix": key.prefix})
        assert row.path == path
        clock.shift(timedelta(hours=1, seconds=1))
        attempt(key.text, path)
        assert events()[before:].count(("authz.denied", "policy")) == 2

    def test_each_key_is_recorded_whatever_its_owner_does(self, user, key, events):
        """Not even a user with the number of the key's row takes its turn."""
        cooldown.is_event_due("recovery.authz.denied", key.pk)
        other, text = make_key(user)
        for tried in (key.text, text):
            ask(tried, PEOPLE_ONLY)
        assert events().count(("authz.denied", "policy")) == 2

    def test_a_page_that_asks_again_for_its_forms_is_one_try(self, key, caplog, committed):
        headers = {"Authorization": f"Api-Key {key.text}", "Accept": "text/html"}
        with committed():
            answer = Client().get(PEOPLE_ONLY, headers=headers)
        assert answer.status_code == 403 and "<html>" in answer.text
        assert caplog.text.count("recovery.authz.denied") == 1

    def test_a_form_that_a_page_does_not_show_is_none(self, key, events):
        headers = {"Authorization": f"Api-Key {key.text}", "Accept": "text/html"}
        assert Client().get("/read-only-for-keys/", headers=headers).status_code == 200
        assert ("authz.denied", "policy") not in events()
        assert Client().post("/read-only-for-keys/", headers=headers).status_code == 403
        assert ("authz.denied", "policy") in events()

    def test_what_people_may_not_is_no_try_of_a_key(self, browser, events):
        assert browser.get(PEOPLE_ONLY).status_code == 200
        assert ("authz.denied", "policy") not in events()

    def test_what_else_has_no_session_is_refused_and_no_key(self, user, events):
        client = APIClient()
        client.force_authenticate(user)
        answer = client.post(GENERATE, {}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (403, "session_required")
        assert ("authz.denied", "policy") not in events()

    def test_the_text_has_256_random_bits(self, user):
        texts = {make_key(user)[1] for _ in range(3)}
        assert len({text.partition(".")[2] for text in texts}) == 3
        assert all(len(bytes.fromhex(text.partition(".")[2])) == 32 for text in texts)
        assert tokens.SECRET_BYTES * 8 == 256


class TestChallenge:
    """docs/api-keys.md: what a 401 says of the ways in."""

    @pytest.mark.parametrize("is_enabled", [True, False])
    def test_a_wrong_key_is_told_from_none(self, key, settings, is_enabled):
        settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = is_enabled
        wrong = ask(with_wrong_secret(key), STATUS)
        assert told(wrong) == (401, "api_key_refused")
        assert wrong.json()["detail"] == "This API key is not valid."
        assert told(Client().get(STATUS)) == (401, "not_authenticated")

    def test_a_view_of_the_project_says_what_its_first_class_says(self, key):
        assert ask(with_wrong_secret(key))["WWW-Authenticate"] == "Api-Key"

    def test_behind_a_class_that_says_nothing_the_framework_answers_403(self, key):
        answer = ask(with_wrong_secret(key), SESSION_FIRST)
        assert answer.status_code == 403 and "WWW-Authenticate" not in answer
        assert ask(key.text, SESSION_FIRST).status_code == 200

    def test_the_apis_own_endpoints_say_allauths_where_that_is_there(self, key):
        answer = ask(with_wrong_secret(key), STATUS)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == ("X-Session-Token" if HAS_ALLAUTH else "Api-Key")


def test_the_view_in_the_docs_takes_keys(user, key):
    """docs/api-keys.md"""
    page = (Path(__file__).parents[2] / "docs/api-keys.md").read_text(encoding="utf-8")
    [block] = re.findall(
        r"^```python\n((?:(?!```).)*?class Orders.*?)^```", page, re.DOTALL | re.MULTILINE
    )
    names = {}
    exec(block, names)  # noqa: S102
    request = RequestFactory().get("/", headers={"Authorization": f"Api-Key {key.text}"})
    assert names["Orders"].as_view()(request).data == {"user": user.pk}


def test_no_other_table_is_asked_for_a_right_key(key, statements):
    ask(key.text)
    with statements() as asked:
        ask(key.text)
    assert "JOIN" in asked[0], "the owner comes with the key"
