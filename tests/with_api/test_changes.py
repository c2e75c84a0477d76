"""What a user does to their codes, by JSON: as on the pages, and refused as there."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from recovery_backend_api.urls import urlpatterns

from recovery_backend import flows
from recovery_backend.models import RecoveryCode
from tests.conftest import WRONG_CODE
from tests.owner import active, row_of, rows, set_up, usable
from tests.with_api.conftest import ApiClient, told, url

pytestmark = pytest.mark.django_db
PREFIX = "DJANGO_AUTH_RECOVERY_CODES_"


@pytest.fixture
def fresh(api):
    """What the answer to generating was."""
    return api.generate()


@pytest.fixture
def handle(fresh):
    """What delivering these codes takes."""
    return {"batch": fresh["batch"]["id"], "delivery_key": fresh["delivery_key"]}


class TestGenerate:
    def test_the_answer_holds_the_codes_once(self, api, user, events):
        """R-74"""
        answer = api.generate(days_to_expire=30)
        assert len(answer["codes"]) == answer["batch"]["total"] == 10 == usable(user)
        assert all(row_of(code).user == user for code in answer["codes"])
        assert answer["batch"]["has_viewed"] and answer["batch"]["id"] == str(
            active(user).public_id
        )
        assert active(user).expires_at.date() == (timezone.now() + timedelta(days=30)).date()
        assert events() == [("batch.generated", ""), ("batch.viewed", "")]
        told_later = [api.ask(name).content.decode() for name in ("status", "batches", "activity")]
        assert not any(code in text for code in answer["codes"] for text in told_later)

    def test_codes_that_work_are_replaced_only_when_that_is_asked_for(self, api, user, fresh):
        before = rows()
        assert told(api.send("generate")) == (409, "would_replace")
        assert told(api.send("generate", {"replace": False})) == (409, "would_replace")
        assert rows() == before
        assert api.generate(replace=True)["batch"]["id"] != fresh["batch"]["id"]
        assert usable(user) == 10

    def test_they_may_last_for_ever(self, api, user):
        api.generate(days_to_expire=None)
        assert active(user).expires_at is None

    @pytest.mark.parametrize("days", [0, -1, 3651, 10**30, 1.0, 1.5, "30", True, [], {}])
    def test_days_out_of_bounds(self, api, days):
        before = rows()
        answer = api.send("generate", {"days_to_expire": days})
        assert told(answer) == (400, "invalid")
        assert list(answer.json()["fields"]) == ["days_to_expire"] and rows() == before

    def test_too_often_has_to_wait(self, api, settings):
        """R-62"""
        set_up(settings, MAX_LOGIN_ATTEMPTS=1)
        api.generate()
        assert api.ask("status").json()["wait_seconds"]["generate"] == 60
        before = rows()
        answer = api.send("generate", {"replace": True})
        assert told(answer) == (429, "cooldown") and answer.json()["wait_seconds"] == 60
        assert rows() == before

    def test_codes_that_another_request_has_replaced_meanwhile(
        self, api, user, make_api, monkeypatch
    ):
        """R-44: nobody is handed codes that work no longer."""
        generate, other = flows.generate, make_api(user)

        def be_overtaken(request, **kwargs):
            monkeypatch.setattr(flows, "generate", generate)
            batch = generate(request, **kwargs)
            other.generate(replace=True)
            return batch

        monkeypatch.setattr(flows, "generate", be_overtaken)
        assert told(api.send("generate")) == (410, "plaintext_gone")
        assert usable(user) == 10

    def test_nobody_guesses_one(self, api, settings):
        """R-01, R-02: 36 characters of 56."""
        set_up(settings, NUMBER_OF_CODES=100)
        texts = [code.replace("-", "") for code in api.generate()["codes"]]
        assert {len(text) for text in texts} == {36} and len(set(texts)) == 100
        assert 36 * math.log2(len(set("".join(texts)))) > 209

    def test_the_dashboard_of_the_same_browser_can_deliver_them_too(self, api, fresh):
        page = api.get(reverse("recovery_dashboard"))
        assert page.context["plaintext"].number == 10 and not page.context["plaintext"].codes
        answer = api.post(reverse("recovery_download"), {"format": "txt"}, headers=api.csrf)
        assert answer.status_code == 200 and fresh["codes"][0] in answer.content.decode()


class TestDownload:
    @pytest.mark.parametrize(
        ("chosen", "kind"),
        [("txt", "text/plain"), ("csv", "text/csv"), ("pdf", "application/pdf")],
    )
    def test_a_file_once(self, api, user, fresh, handle, chosen, kind):
        """R-76"""
        answer = api.send("download", {**handle, "format": chosen})
        assert answer.status_code == 200 and answer["Content-Type"].startswith(kind)
        assert answer["Content-Disposition"] == f'attachment; filename="recovery_codes.{chosen}"'
        if chosen != "pdf":
            assert all(code in answer.content.decode() for code in fresh["codes"])
        assert active(user).has_downloaded
        again = api.send("download", {**handle, "format": chosen})
        assert told(again) == (409, "already_delivered")

    def test_the_format_may_be_left_to_the_site(self, api, handle, settings):
        set_up(settings, DEFAULT_FORMAT="csv")
        assert api.send("download", handle)["Content-Type"] == "text/csv; charset=utf-8"

    def test_a_client_that_accepts_the_file_alone(self, api, handle):
        answer = api.send("download", {**handle, "format": "pdf"}, HTTP_ACCEPT="application/pdf")
        assert answer.status_code == 200

    @pytest.mark.parametrize("chosen", ["doc", "TXT", 1, None, ["txt"]])
    def test_another_format(self, api, handle, chosen):
        answer = api.send("download", {**handle, "format": chosen})
        assert told(answer) == (400, "invalid") and list(answer.json()["fields"]) == ["format"]


@pytest.mark.parametrize("name", ["download", "email"])
class TestDeliveryKey:
    """R-70"""

    def test_another_key_opens_nothing(self, api, handle, name, events):
        answer = api.send(name, {**handle, "delivery_key": "0" * 64})
        assert told(answer) == (410, "plaintext_gone") and not mail.outbox
        assert ("stash.decrypt_fail", "") in events()

    @pytest.mark.parametrize("key", ["", "0", "0" * 63, "0" * 65, None, 1])
    def test_what_is_no_key(self, api, handle, name, key):
        assert told(api.send(name, {**handle, "delivery_key": key})) == (400, "invalid")

    def test_another_session_of_the_same_user(self, api, user, handle, name):
        assert told(ApiClient().sign_in(user).send(name, handle)) == (410, "plaintext_gone")

    def test_another_user(self, api, make_user, make_api, handle, name):
        """R-97"""
        foreign = make_api(make_user()).send(name, handle)
        nothing = make_api(make_user()).send(name, {**handle, "batch": str(uuid4())})
        assert told(foreign) == told(nothing) == (404, "not_found")
        assert foreign.json() == nothing.json()

    def test_when_the_time_is_over(self, api, user, handle, name, clock):
        """R-71"""
        clock.shift(901)
        assert told(api.send(name, handle)) == (410, "plaintext_gone")
        assert active(user).sealed == ""

    def test_when_the_password_was_changed(self, api, user, handle, name):
        """R-72"""
        session = api.session
        user.set_password("another horse")
        user.save()
        session["_auth_user_hash"] = user.get_session_auth_hash()
        session.save()
        assert told(api.send(name, handle)) == (410, "plaintext_gone")

    def test_when_they_are_saved(self, api, user, handle, name):
        assert api.send("saved", {"batch": handle["batch"]}).status_code == 200
        assert active(user).sealed == ""
        assert told(api.send(name, handle)) == (410, "plaintext_gone")

    def test_of_codes_that_were_replaced(self, api, handle, name):
        api.generate(replace=True)
        assert told(api.send(name, handle)) == (409, "no_active_batch")


class TestEmail:
    def test_to_the_own_address_once(self, api, user, fresh, handle, run_queue, committed):
        """R-81, R-83"""
        with committed():
            answer = api.send("email", handle)
        assert answer.status_code == 202 and answer.json() == {"email_state": "queued"}
        assert api.ask("email").json() == {"email_state": "queued"}
        run_queue()
        [message] = [it for it in mail.outbox if fresh["codes"][0] in it.body]
        assert message.to == [user.email] and api.ask("email").json() == {"email_state": "sent"}
        assert told(api.send("email", handle)) == (409, "already_delivered")

    def test_sent_at_once(self, api, handle, at_once, committed):
        with committed():
            answer = api.send("email", handle)
        assert answer.status_code in (200, 202)
        assert api.ask("email").json() == {"email_state": "sent"}

    def test_none_yet(self, api):
        assert api.ask("email").json() == {"email_state": "none"}

    def test_turned_off(self, api, handle, settings):
        set_up(settings, EMAIL_CODES=False)
        assert told(api.send("email", handle)) == (403, "email_off")

    def test_without_an_address(self, api, user, handle):
        type(user).objects.update(email="")
        assert told(api.send("email", handle)) == (409, "no_address")

    def test_too_often_has_to_wait(self, api, handle, settings):
        """R-62"""
        set_up(settings, MAX_LOGIN_ATTEMPTS=1)
        assert api.send("email", handle).status_code == 202
        assert api.ask("status").json()["wait_seconds"]["email"] == 60
        set_up(settings, MAX_LOGIN_ATTEMPTS=2)
        new = api.generate(replace=True)
        again = {"batch": new["batch"]["id"], "delivery_key": new["delivery_key"]}
        assert told(api.send("email", again)) == (429, "cooldown")


@pytest.mark.django_db(transaction=True)
def test_an_email_that_cannot_be_sent(user, settings, at_once, monkeypatch):
    api = ApiClient().sign_in(user)
    fresh = api.generate()
    monkeypatch.setattr("recovery_backend.accounts.EmailMultiAlternatives.send", lambda it: 1 / 0)
    handle = {"batch": fresh["batch"]["id"], "delivery_key": fresh["delivery_key"]}
    answer = api.send("email", handle)
    assert told(answer) == (502, "email_failed")
    assert api.ask("email").json() == {"email_state": "failed"}


class TestCodes:
    def test_a_test_spends_nothing(self, api, user, fresh):
        answer = api.send("verify", {"recovery_code": fresh["codes"][0]})
        assert answer.status_code == 200 and usable(user) == 10
        assert api.ask("status").json()["has_passed_test"] is True

    @pytest.mark.parametrize("name", ["verify", "invalidate", "delete"])
    def test_codes_that_are_not_theirs(self, api, make_user, make_codes, user, fresh, name):
        """R-33: whosever they are."""
        foreign = make_codes(make_user())[0]
        before = usable(user)
        refused = [
            api.send(name, {"recovery_code": code}) for code in (foreign, WRONG_CODE, "x", "🤷")
        ]
        assert [told(answer) for answer in refused] == [(400, "code_refused")] * 4
        assert len({answer.content for answer in refused}) == 1
        assert usable(user) == before and row_of(foreign).status == "active"

    @pytest.mark.parametrize(
        ("name", "status"), [("invalidate", "invalidated"), ("delete", "deleted")]
    )
    def test_one_code_out_of_service(self, api, user, fresh, name, status):
        assert api.send(name, {"recovery_code": fresh["codes"][0]}).status_code == 200
        assert row_of(fresh["codes"][0]).status == status and usable(user) == 9
        again = api.send(name, {"recovery_code": fresh["codes"][0]})
        assert told(again) == (400, "code_refused")

    def test_tests_that_fail_have_to_wait_as_signing_in_does(self, api, fresh, settings):
        """R-50"""
        set_up(settings, MAX_LOGIN_ATTEMPTS=2)
        answers = [api.send("verify", {"recovery_code": WRONG_CODE}) for _ in range(3)]
        assert [told(it)[1] for it in answers] == ["code_refused", "code_refused", "cooldown"]
        tried = Client().post(
            reverse("login_user"),
            {"email": "owner@example.com", "recovery_code": fresh["codes"][0]},
        )
        assert tried.status_code == 429

    def test_without_codes_there_is_nothing_to_test(self, api):
        answer = api.send("verify", {"recovery_code": WRONG_CODE})
        assert told(answer) == (409, "no_active_batch")

    def test_without_an_address_there_is_nothing_to_test(self, api, user, fresh):
        type(user).objects.update(email="")
        answer = api.send("verify", {"recovery_code": fresh["codes"][0]})
        assert told(answer) == (409, "no_address")


class TestDeleteAll:
    def test_all_are_deleted(self, api, user, fresh):
        assert api.send("delete-all", {"batch": fresh["batch"]["id"]}).status_code == 200
        assert usable(user) == 0 and active(user) is None
        assert {code.status for code in RecoveryCode.objects.all()} == {"deleted"}

    @pytest.mark.parametrize("name", ["delete-all", "saved"])
    def test_older_codes_do_not_take_the_newer_ones_away(self, api, user, fresh, name):
        api.generate(replace=True)
        answer = api.send(name, {"batch": fresh["batch"]["id"]})
        assert told(answer) == (409, "no_active_batch")
        assert usable(user) == 10 and active(user).sealed

    @pytest.mark.parametrize("name", ["delete-all", "saved"])
    def test_those_of_somebody_else(self, api, make_user, make_api, fresh, user, name, events):
        """R-97"""
        stranger = make_api(make_user())
        stranger.generate()
        foreign = stranger.send(name, {"batch": fresh["batch"]["id"]})
        nothing = stranger.send(name, {"batch": str(uuid4())})
        assert told(foreign) == (404, "not_found") and foreign.json() == nothing.json()
        assert usable(user) == 10 and ("authz.denied", "foreign") in events()


EACH = {
    "generate": {},
    "verify": {"recovery_code": WRONG_CODE},
    "invalidate": {"recovery_code": WRONG_CODE},
    "delete": {"recovery_code": WRONG_CODE},
    "delete-all": {"batch": str(uuid4())},
    "saved": {"batch": str(uuid4())},
    "download": {"batch": str(uuid4()), "delivery_key": "0" * 64},
    "email": {"batch": str(uuid4()), "delivery_key": "0" * 64},
}
GUARDED = [name for name in EACH if name not in ("verify", "saved")]


@pytest.mark.parametrize("name", EACH)
class TestEach:
    def test_a_flood_is_refused(self, api, settings, name):
        """R-62: counted with what the same user does on the pages."""
        set_up(settings, CLIENT_RATE="1/m")
        api.post(reverse("recovery_verify_setup"), {"recovery_code": "x"}, headers=api.csrf)
        before = rows()
        answer = api.send(name, EACH[name])
        assert told(answer) == (429, "cooldown") and answer.json()["wait_seconds"] > 0
        assert rows() == before

    def test_nobody(self, name):
        answer = ApiClient().send(name, EACH[name])
        assert told(answer) == (401, "not_authenticated") and answer["WWW-Authenticate"]

    def test_without_a_csrf_token(self, api, name, events):
        """R-91"""
        api.csrf = {}
        before = rows()
        assert told(api.send(name, EACH[name])) == (403, "csrf_failed")
        assert rows() == before and events() == [("csrf.fail", "csrf")]

    def test_nothing_is_changed_while_nobody_can_count(self, api, name, monkeypatch):
        """R-31"""
        monkeypatch.setattr("recovery_backend.cooldown.get_usage", lambda *args, **more: 1 / 0)
        assert told(api.send(name, EACH[name])) == (503, "unavailable")

    @pytest.mark.parametrize("method", ["put", "patch", "delete", "options"])
    def test_changes_are_posts(self, api, name, method):
        """R-98"""
        answer = getattr(api, method)(url(name), headers=api.csrf)
        assert answer.status_code == 405 and answer.json()["code"] == "method_not_allowed"
        assert "POST" in answer["Allow"]


@pytest.mark.parametrize("name", [name for name in EACH if name != "email"])
def test_what_changes_is_not_read(api, name):
    """R-98"""
    assert told(api.ask(name)) == (405, "method_not_allowed")


@pytest.mark.parametrize("name", GUARDED)
def test_an_old_sign_in(api, settings, name, clock, events):
    """R-43"""
    set_up(settings, REAUTH_MAX_AGE=60)
    clock.shift(61)
    before = rows()
    answer = api.send(name, EACH[name])
    assert told(answer) == (403, "sign_in_too_old") and answer.json()["redirect_to"]
    assert rows() == before and events() == [("reauth.fail", "stale")]


@pytest.mark.parametrize("name", ["verify", "saved"])
def test_what_an_old_sign_in_may_do(api, settings, name, clock):
    set_up(settings, REAUTH_MAX_AGE=60)
    clock.shift(61)
    assert api.send(name, EACH[name]).status_code != 403


def test_a_body_is_only_read_after_the_csrf_token(api):
    api.csrf = {}
    answer = api.post(url("generate"), json.dumps({"x": 1}), content_type="application/json")
    assert told(answer) == (403, "csrf_failed")


@pytest.mark.django_db(transaction=True)
def test_a_refusal_counts_where_requests_are_transactions(user, codes, settings, monkeypatch):
    """R-50: an error of the site, after the view, takes nothing back."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    set_up(settings, MAX_LOGIN_ATTEMPTS=1)
    api = ApiClient().sign_in(user)
    assert told(api.send("verify", {"recovery_code": WRONG_CODE})) == (400, "code_refused")
    assert told(api.send("verify", {"recovery_code": codes[0]})) == (429, "cooldown")


@pytest.mark.parametrize("pattern", urlpatterns, ids=str)
def test_no_endpoint_is_one_transaction(pattern):
    assert pattern.callback._non_atomic_requests == {"default"}
