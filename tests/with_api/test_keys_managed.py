"""People make, list and revoke their API keys."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import SESSION_KEY, get_user_model
from django.core import mail
from django.utils import timezone
from recovery_backend_api.keys.exceptions import KeysTurnedOff
from recovery_backend_api.keys.models import ApiKey

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.flows.entry import SIGNED_IN_AT
from recovery_backend.history import overview_of
from recovery_backend.purge import Purged, purge_codes
from tests.conftest import WRONG_CODE
from tests.with_api.conftest import ApiClient, told
from tests.with_api.keys_site import KEYS, STATUS, WRONG_SECRET, ask, make_key, send

pytestmark = [
    pytest.mark.urls("tests.with_api.keys_site"),
    pytest.mark.django_db,
    pytest.mark.usefixtures("keys_on"),
]
NEW = {"name": "Nightly report", "days_to_expire": 30}


def listed(api):
    return api.ask("keys").json()["results"]


class TestCreate:
    def test_the_key_is_in_the_answer_and_works(self, user, api):
        answer = api.send("keys", NEW)
        assert answer.status_code == 201
        made = answer.json()
        assert made["key"].startswith(f"{made['prefix']}.")
        assert ask(made["key"]).json() == {"user": user.pk, "key": made["prefix"]}

    def test_it_is_never_shown_again(self, api):
        made = api.send("keys", NEW).json()
        secret = made["key"].partition(".")[2]
        again = api.ask("keys")
        assert secret not in again.text
        assert listed(api)[0] == {name: made[name] for name in made if name != "key"}

    def test_the_row_keeps_a_digest_of_it(self, api):
        made = api.send("keys", NEW).json()
        row = ApiKey.objects.get(prefix=made["prefix"])
        secret = made["key"].partition(".")[2]
        assert len(row.digest) == 32
        assert bytes.fromhex(secret) not in bytes(row.digest)

    def test_it_expires_when_it_was_said(self, api, clock):
        api.send("keys", NEW)
        assert ApiKey.objects.get().expires_at == timezone.now() + timedelta(days=30)

    def test_it_is_recorded_by_its_prefix(self, user, api):
        made = api.send("keys", NEW).json()
        row = RecoveryCodeAudit.objects.get(event="recovery.api_key.created")
        assert (row.user, row.actor, row.data) == (user, user, {"prefix": made["prefix"]})

    def test_the_owner_is_told_once_it_is_committed(self, api, at_once, committed):
        with committed():
            made = api.send("keys", NEW).json()
        [message] = mail.outbox
        assert message.to == ["owner@example.com"]
        assert message.subject.endswith("A new API key for your account")
        assert made["prefix"] in message.body
        assert made["key"].partition(".")[2] not in message.message().as_string()

    def test_none_is_made_while_they_are_off(self, api, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = False
        assert told(api.send("keys", NEW)) == (403, "api_keys_off")
        assert told(api.ask("keys")) == (403, "api_keys_off")
        assert not ApiKey.objects.exists()

    def test_nor_from_python(self, user, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = False
        with pytest.raises(KeysTurnedOff):
            make_key(user)

    def test_nobody_makes_none(self, db):
        assert ApiClient().send("keys", NEW).status_code == 401

    def test_a_page_of_another_site_makes_none(self, api):
        """R-91"""
        api.csrf = {}
        assert told(api.send("keys", NEW)) == (403, "csrf_failed")

    def test_a_key_makes_no_key(self, user):
        """Nor lists or revokes one."""
        key, text = make_key(user)
        for answer in (
            ask(text, KEYS),
            send(text, "keys", NEW),
            send(text, "keys/revoke", {"prefix": key.prefix}),
        ):
            assert answer.status_code == 403
        assert ApiKey.objects.usable().count() == 1

    def test_a_cookie_does_not_help_it(self, user, browser):
        _key, text = make_key(user)
        assert send(text, "keys", NEW, client=browser).status_code == 403
        assert ApiKey.objects.count() == 1

    def test_a_key_reads_and_changes_no_codes(self, user, codes):
        _key, text = make_key(user)
        assert ask(text, STATUS).json()["left"] == 3
        for name, data in {
            "generate": {"replace": True},
            "invalidate": {"recovery_code": codes[0]},
            "delete": {"recovery_code": codes[0]},
            "verify": {"recovery_code": codes[0]},
        }.items():
            assert send(text, name, data).status_code == 403
        assert ask(text, STATUS).json()["left"] == 3

    def test_a_key_signs_nobody_in(self, user):
        _key, text = make_key(user)
        program = ApiClient()
        program.take_csrf_token()
        assert ask(text, client=program).status_code == 200
        wrong = {"email": user.email, "recovery_code": WRONG_CODE}
        answer = program.send("sign-in", wrong, HTTP_AUTHORIZATION=f"Api-Key {text}")
        assert told(answer) == (400, "refused")
        assert "sessionid" not in program.cookies

    @pytest.mark.parametrize("is_revoked", [False, True])
    def test_a_sign_in_looks_at_no_key(self, user, make_user, make_codes, events, is_revoked):
        """It is the sign-in of whose code it is, as without the key."""
        key, text = make_key(user)
        if is_revoked:
            key.revoke()
        other = make_user("other@example.com")
        [code] = make_codes(other, number_of_codes=1)
        before = len(events())
        data = {"email": other.email, "recovery_code": code}
        script, header = ApiClient(), {"HTTP_AUTHORIZATION": f"Api-Key {text}"}
        assert told(script.send("sign-in", data, **header)) == (403, "csrf_failed")
        script.take_csrf_token()
        answer = script.send("sign-in", data, **header)
        assert answer.json() == {"is_authenticated": True, "redirect_to": None}
        assert script.session[SESSION_KEY] == str(other.pk)
        assert events()[before:] == [("csrf.fail", "csrf"), ("login.success", "")]
        assert ApiKey.objects.get().last_used_at is None

    def test_an_old_sign_in_is_not_enough(self, api, settings):
        """R-43"""
        settings.DJANGO_AUTH_RECOVERY_CODES_REAUTH_MAX_AGE = 60
        session = api.session
        session[SIGNED_IN_AT] = 0
        session.save()
        assert told(api.send("keys", NEW)) == (403, "sign_in_too_old")

    def test_many_in_a_day_have_to_wait(self, api, settings, clock, events):
        """R-62, R-122"""
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 2
        answers = [api.send("keys", NEW) for _ in range(3)]
        assert [told(answer)[0] for answer in answers] == [201, 201, 429]
        assert ApiKey.objects.count() == 2
        assert events()[-1] == ("action.throttled", "cooldown")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": ""},
            {"name": "   "},
            {"name": "a\nb"},
            {"name": "\u202etxt"},
            {"name": "x" * 101},
            {"name": 5},
            {"name": None},
            {"days_to_expire": 0},
            {"days_to_expire": -1},
            {"days_to_expire": 366},
            {"days_to_expire": "30"},
            {"days_to_expire": True},
            {"days_to_expire": 10**400},
            {"days_to_expire": None},
            {"prefix": "mine"},
        ],
        ids=lambda wrong: repr(wrong)[:30],
    )
    def test_wrong_input_is_refused(self, api, wrong):
        """R-06, R-102"""
        assert told(api.send("keys", {**NEW, **wrong})) == (400, "invalid")
        assert not ApiKey.objects.exists()

    def test_days_have_to_be_said(self, api):
        assert told(api.send("keys", {"name": "a"})) == (400, "invalid")

    def test_no_expiry_where_the_site_allows_it(self, api, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_ALLOW_NO_EXPIRY = True
        made = api.send("keys", {"name": "a", "days_to_expire": None}).json()
        assert made["expires_at"] is None
        clock.shift(timedelta(days=5000))
        assert ask(made["key"]).status_code == 200

    def test_the_longest_life_is_a_setting(self, api, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_MAX_DAYS = 7
        assert told(api.send("keys", {**NEW, "days_to_expire": 8})) == (400, "invalid")
        assert api.send("keys", {**NEW, "days_to_expire": 7}).status_code == 201

    @pytest.mark.parametrize("days", [None, 0, 366, True])
    def test_python_callers_are_held_to_it_too(self, user, days):
        """R-06"""
        with pytest.raises(ValueError, match="expire"):
            make_key(user, days_to_expire=days)
        assert not ApiKey.objects.exists()


class TestList:
    def test_it_says_how_each_stands(self, user, api, clock):
        names = ("used", "over", "revoked")
        texts = {name: make_key(user, name, days_to_expire=1 + (name != "over")) for name in names}
        ask(texts["used"][1])
        texts["revoked"][0].revoke()
        clock.shift(timedelta(days=1))
        states = {key["name"]: (key["state"], bool(key["last_used_at"])) for key in listed(api)}
        assert states == {
            "used": ("active", True),
            "over": ("expired", False),
            "revoked": ("revoked", False),
        }

    def test_it_shows_ones_own_only_page_by_page(self, user, api, make_user, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_PER_PAGE = 2
        make_key(make_user())
        for name in "abc":
            make_key(user, name)
        first, second = (api.ask("keys", {"page": page}).json() for page in (1, 2))
        assert [key["name"] for key in first["results"] + second["results"]] == ["c", "b", "a"]
        assert (first["count"], first["pages"]) == (3, 2)

    def test_the_purge_takes_what_ended_longer_ago_than_the_retention(self, user, api, clock):
        """R-19, R-109"""
        make_key(user, "over", days_to_expire=1)
        make_key(user, "revoked", days_to_expire=300)[0].revoke()
        make_key(user, "in use", days_to_expire=300)
        clock.shift(timedelta(days=30))
        RecoveryCodeCooldown.objects.all().delete()  # other rows, which would be counted too
        assert purge_codes(is_dry_run=True) == purge_codes() == Purged(other_rows=1)
        assert {key["name"] for key in listed(api.sign_in(user))} == {"in use", "over"}
        clock.shift(timedelta(days=1))
        assert purge_codes() == Purged(other_rows=1)
        assert {key["name"] for key in listed(api.sign_in(user))} == {"in use"}

    @pytest.mark.parametrize("days", [1, None])
    def test_the_purge_leaves_what_works(self, user, settings, days):
        settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_ALLOW_NO_EXPIRY = True
        _key, text = make_key(user, days_to_expire=days)
        purge_codes(0)
        assert ask(text).status_code == 200


class TestRevoke:
    def test_a_revoked_key_is_refused_from_now_on(self, user, api, events):
        key, text = make_key(user)
        assert ask(text).status_code == 200
        assert api.send("keys/revoke", {"prefix": key.prefix}).status_code == 200
        assert ask(text).status_code == 401
        assert ("api_key.revoked", "") in events()

    def test_once_more_changes_nothing(self, user, api, events):
        key, _text = make_key(user)
        for _ in range(2):
            assert api.send("keys/revoke", {"prefix": key.prefix}).status_code == 200
        assert events().count(("api_key.revoked", "")) == 1

    def test_foreign_and_missing_ones_are_answered_alike(self, user, api, make_user, events):
        """R-97"""
        foreign, text = make_key(make_user())
        answers = [
            api.send("keys/revoke", {"prefix": prefix})
            for prefix in (foreign.prefix, "rbk_000000000000", "%", "\u00e4")
        ]
        assert {told(answer) for answer in answers} == {(404, "not_found")}
        assert len({answer.text for answer in answers}) == 1
        assert ask(text).status_code == 200
        assert events().count(("authz.denied", "foreign")) == 1

    def test_no_recent_sign_in_is_asked_for(self, user, api, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_REAUTH_MAX_AGE = 60
        key, _text = make_key(user)
        session = api.session
        session[SIGNED_IN_AT] = 0
        session.save()
        assert api.send("keys/revoke", {"prefix": key.prefix}).status_code == 200

    def test_the_owner_is_told(self, user, api, at_once, committed):
        key, _text = make_key(user)
        mail.outbox.clear()
        with committed():
            api.send("keys/revoke", {"prefix": key.prefix})
        [message] = mail.outbox
        assert message.subject.endswith("An API key of your account was revoked")
        assert key.prefix in message.body

    def test_keys_go_with_their_owner(self, user):
        make_key(user)
        get_user_model().objects.filter(pk=user.pk).delete()
        assert not ApiKey.objects.exists()

    def test_the_history_tells_the_owner(self, user, api):
        key, _text = make_key(user)
        api.send("keys/revoke", {"prefix": key.prefix})
        said = [entry["detail"] for entry in api.ask("activity").json()["results"]]
        assert "An API key was made." in said and "An API key was revoked." in said


WITHDRAWN = {
    "revoked": lambda key: key.revoke(),
    "expired": lambda key: update(key, expires_at=timezone.now()),
    "inactive": lambda key: activate(key.user, False),
}
USED = "An API key of yours that does not work any more was used."


def update(key, **fields):
    ApiKey.objects.filter(pk=key.pk).update(**fields)


def activate(user, is_active):
    user.is_active = is_active
    user.save()


def seen(api, user):
    """The sentences of the dashboard, after those of the endpoint were found to be the same."""
    told = [entry["detail"] for entry in api.ask("activity").json()["results"]]
    assert told == [entry.text for entry in overview_of(user).activity]
    return told


class TestSeen:
    """What owners read of keys of theirs that are refused."""

    @pytest.mark.parametrize("withdraw", WITHDRAWN.values(), ids=WITHDRAWN)
    def test_a_withdrawn_key_that_goes_on_being_used(self, user, make_api, withdraw):
        key, text = make_key(user)
        withdraw(key)
        assert ask(text).status_code == 401
        activate(user, True)
        assert seen(make_api(user), user).count(USED) == 1

    def test_what_a_stranger_can_cause_is_not_shown(self, user, api):
        key, _text = make_key(user)
        assert ask(f"{key.prefix}.{WRONG_SECRET}").status_code == 401
        assert RecoveryCodeAudit.objects.latest("pk").user == user
        assert USED not in seen(api, user)

    def test_nor_is_what_concerns_the_key_of_another(self, api, user, make_user):
        key, text = make_key(make_user())
        key.revoke()
        ask(text)
        assert seen(api, user) == []
