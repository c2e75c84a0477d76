"""The dashboard over HTTP: access, the set-up test, notices, faults (R-33, R-43, R-62, R-97)."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core import mail
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from recovery_backend import flows, history, tasks
from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.exceptions import NotTheirs
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeBatch,
    RecoveryCodeSetup,
)
from tests.conftest import DASHBOARD, JSON, PASSWORD, WRONG_CODE, Browser
from tests.owner import active, codes_in, row_of, rows, set_up, state, usable
from tests.test_middleware import broken_audit

LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
HERE = "127.0.0.1"
ACTIONS = [
    "recovery_generate",
    "recovery_verify_setup",
    "recovery_download",
    "recovery_email",
    "recovery_saved",
    "recovery_invalidate",
    "recovery_delete",
    "recovery_delete_all",
]
READS = ["recovery_dashboard", "recovery_email_status", "recovery_events"]
CHANGES = [name for name in ACTIONS if name not in {"recovery_verify_setup", "recovery_saved"}]
FOR_A_BATCH = ["recovery_download", "recovery_email", "recovery_delete_all", "recovery_saved"]


class TestAccess:
    @pytest.mark.parametrize("middleware", [[], [LOGIN_REQUIRED]])
    @pytest.mark.parametrize("name", ACTIONS + READS)
    def test_anonymous_people_go_to_the_login_url(
        self, user, codes, client, settings, name, middleware
    ):
        """R-96"""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, *middleware]
        before = rows()
        method = client.get if name in READS else client.post
        response = method(reverse(name))
        target = reverse(name) if name in READS else DASHBOARD  # an action answers no GET
        assert (response.status_code, response.url) == (302, f"/password/?next={target}")
        assert rows() == before

    @pytest.mark.parametrize("name", ACTIONS)
    def test_anonymous_scripts_are_told_where_to_go(self, user, codes, client, name):
        before = rows()
        answer = client.post(reverse(name), headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (401, "sign_in")
        assert answer.json()["redirect_to"] == f"/password/?next={DASHBOARD}"
        assert rows() == before

    @pytest.mark.parametrize("name", ACTIONS + READS)
    def test_with_login_required_middleware_users_get_through(self, browser, settings, name):
        """R-96"""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, LOGIN_REQUIRED]
        response = browser.open(name) if name in READS else browser.send(name)
        assert response.status_code in {200, 302}
        assert "/password/" not in response.headers.get("Location", "")

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"])
    @pytest.mark.parametrize("name", ACTIONS)
    def test_actions_are_posts(self, generated, name, method):
        """R-98"""
        before = rows()
        data = {"confirm": "on", "recovery_code": generated.codes[0]}
        response = generated.generic(method, reverse(name), query_params=data)
        assert response.status_code == 405
        assert "POST" in response["Allow"]
        assert rows() == before

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
    @pytest.mark.parametrize("name", READS)
    def test_pages_are_only_read(self, generated, name, method):
        """R-98"""
        before = rows()
        assert generated.generic(method, reverse(name)).status_code == 405
        assert rows() == before

    @pytest.mark.parametrize("name", ACTIONS)
    def test_options_changes_nothing(self, generated, name):
        before = rows()
        assert generated.options(reverse(name)).status_code == 200
        assert rows() == before

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("has_middleware", [True, False])
    @pytest.mark.parametrize("name", ACTIONS)
    def test_actions_need_their_csrf_token(
        self, user, codes, settings, name, has_middleware, headers
    ):
        """R-91"""
        if not has_middleware:
            settings.MIDDLEWARE = [entry for entry in settings.MIDDLEWARE if entry != CSRF]
        before = rows()
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(user)
        data = {"confirm": "on", "recovery_code": codes[0]}
        assert strict.post(reverse(name), data, headers=headers).status_code == 403
        assert rows() == before

    def test_an_action_with_its_token_passes(self, user):
        strict = Browser(enforce_csrf_checks=True)
        strict.force_login(user)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', strict.open().text)[1]
        assert strict.send("recovery_generate", csrfmiddlewaretoken=token).status_code == 302
        assert usable(user) == 10


class TestBatchId:
    """R-97"""

    @pytest.fixture
    def ids(self, make_user, make_codes):
        other = make_user()
        make_codes(other)
        theirs = RecoveryCodeBatch.objects.get(user=other)
        return {
            "foreign": str(theirs.public_id),
            "foreign key": str(theirs.pk),
            "unknown": str(uuid.uuid4()),
            "garbage": "x",
            "number": "0",
            "negative": "-1",
            "long": "a" * 10_000,
            "nul": "\x00",
            "letters": "ⅷ" * 32,
            "path": "../../etc/passwd",
        }

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("name", FOR_A_BATCH)
    def test_foreign_unknown_and_garbage_are_the_same_404(
        self, generated, ids, name, headers, events
    ):
        before, bodies = rows(), set()
        for batch in ids.values():
            data = {"batch": batch, "confirm": "on"}
            response = generated.post(reverse(name), data, headers=headers)
            assert response.status_code == 404
            bodies.add(response.content)
        assert len(bodies) == 1
        assert rows() == before
        assert events().count(("authz.denied", "foreign")) == 1

    def test_somebody_who_tries_on_is_recorded_once_an_hour(
        self, user, generated, make_user, make_browser, clock, events
    ):
        """R-122"""
        other = make_user()
        for _ in range(5):
            generated.send("recovery_delete_all", batch="x")
            make_browser(other).send("recovery_delete_all", batch="x")
        assert events(user=user)[-1:] == events(user=other) == [("authz.denied", "foreign")]
        assert events().count(("authz.denied", "foreign")) == 2
        clock.shift(3600)
        generated.send("recovery_delete_all", batch="x")
        assert events().count(("authz.denied", "foreign")) == 3

    @pytest.mark.parametrize(
        "cache_class", ["test_backends.BrokenCache", "cooldown.conftest.ForgetfulCache"]
    )
    def test_with_a_broken_cache_it_is_rather_recorded_too_often(
        self, user, codes, make_request, settings, events, cache_class
    ):
        settings.CACHES = {"default": {"BACKEND": f"tests.{cache_class}"}}
        request = make_request()
        request.user = user
        for _ in range(2):
            with pytest.raises(NotTheirs):
                flows.active_batch(request, "x")
        assert events().count(("authz.denied", "foreign")) == 2

    @pytest.mark.parametrize("name", FOR_A_BATCH)
    def test_ones_own_older_batch_is_a_problem_and_changes_nothing(self, user, browser, name):
        browser.generate()
        old = str(active(user).public_id)
        browser.generate()
        before = rows()
        answer = browser.send_json(name, batch=old, confirm="on")
        assert (answer.status_code, answer.json()["code"]) == (400, "NoActiveBatch")
        browser.send(name, batch=old, confirm="on")
        assert list(browser.open().context["problems"]) == [name.removeprefix("recovery_")]
        assert rows() == before

    @pytest.mark.parametrize("name", FOR_A_BATCH)
    def test_the_active_batch_is_meant_by_name_or_by_none(self, user, generated, name):
        data = {"batch": str(active(user).public_id)}
        assert generated.send(name, **data, confirm="on").status_code in {200, 302}
        assert "problems" in generated.open().context
        assert not generated.open().context["problems"]


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


class TestVerify:
    """R-33"""

    def test_a_right_code_passes_and_stays_usable(self, user, generated, try_code, events):
        assert generated.open().context["can_verify"] is True
        response = generated.send("recovery_verify_setup", recovery_code=generated.codes[0])
        assert (response.status_code, response.url) == (302, DASHBOARD)
        assert generated.open().context["can_verify"] is False
        assert events()[-1] == ("batch.verified", "")
        assert usable(user) == 10
        assert try_code(user.email, generated.codes[0]) == user

    def test_it_is_passed_once(self, user, generated, clock):
        generated.send("recovery_verify_setup", recovery_code=generated.codes[0])
        passed_at = RecoveryCodeSetup.objects.get(user=user).verified_at
        clock.shift(60)
        again = generated.send_json("recovery_verify_setup", recovery_code=generated.codes[1])
        assert again.status_code == 200
        assert (
            RecoveryCodeSetup.objects.get(user=user).verified_at
            == passed_at
            == (timezone.now() - timedelta(seconds=60))
        )

    def test_a_success_gives_the_charge_back(self, user, generated):
        for code in generated.codes:
            typed = " 1. " + code.replace("-", "\u2013")
            answer = generated.send_json("recovery_verify_setup", recovery_code=typed)
            assert answer.status_code == 200

    def test_it_gives_back_no_more_than_its_own_charge(self, user, generated, post_code, clock):
        """R-51, R-58: a stranger may have an account with this address, and codes of their own."""
        for _ in range(3):
            post_code(user.email, WRONG_CODE, HERE)
        for code in generated.codes:
            assert generated.send("recovery_verify_setup", recovery_code=code).url == DASHBOARD
        counted = RecoveryCodeCooldown.objects.filter(failures=3, blocked_until=None)
        assert counted.count() == 2
        post_code(user.email, WRONG_CODE, HERE)
        post_code(user.email, WRONG_CODE, HERE)
        answer = generated.send("recovery_verify_setup", recovery_code=generated.codes[0])
        assert (answer.status_code, answer["Retry-After"]) == (429, "60")

    def test_a_wait_that_only_the_test_would_have_caused_is_over(
        self, user, generated, post_code, clock
    ):
        for _ in range(4):
            post_code(user.email, WRONG_CODE, HERE)
        for code in generated.codes[:3]:
            answer = generated.send_json("recovery_verify_setup", recovery_code=code)
            assert answer.status_code == 200
        assert post_code(user.email, WRONG_CODE, HERE).status_code == 200
        assert post_code(user.email, WRONG_CODE, HERE).status_code == 429

    @pytest.fixture
    def others(self, user, browser, make_user, make_codes, try_code):
        """Codes that are not the user's own, unused and current, by what they are."""
        [superseded] = make_codes(user, number_of_codes=1)
        used, expired, invalidated, deleted, usable = make_codes(user, number_of_codes=5)
        try_code(user.email, used)
        long_ago = timezone.now() - timedelta(days=1)
        RecoveryCode.objects.filter(pk=row_of(expired).pk).update(expires_at=long_ago)
        row_of(invalidated).retire(RecoveryCode.Status.INVALIDATED)
        row_of(deleted).retire(RecoveryCode.Status.DELETED)
        moved = make_codes(make_user(), number_of_codes=1)[0]
        RecoveryCode.objects.filter(pk=row_of(moved).pk).update(user=user)
        return {
            "superseded": superseded,
            "used": used,
            "expired": expired,
            "invalidated": invalidated,
            "deleted": deleted,
            "another user's": make_codes(make_user(), number_of_codes=1)[0],
            "another user's with this address": make_codes(make_user(email=user.email))[0],
            "moved by hand": moved,
            "unknown": WRONG_CODE,
            "garbage": "x",
            "nothing": "",
            "hostile": "\x00<script>" * 1000,
        }

    @pytest.mark.parametrize("is_json", [True, False])
    def test_all_other_codes_are_refused_alike(
        self, user, browser, others, statements, is_json, clock
    ):
        answers, costs = {}, {}
        before = rows()
        for kind, code in others.items():
            RecoveryCodeCooldown.objects.all().delete()
            cache.clear()
            send = browser.send_json if is_json else browser.send
            with statements() as queries:
                response = send("recovery_verify_setup", recovery_code=code)
            texts = response.json() if is_json else str(browser.open().context["problems"])
            answers[kind] = (response.status_code, str(texts))
            costs[kind] = len(queries)
        assert len(set(answers.values())) == 1, answers
        assert len(set(costs.values())) == 1, costs
        assert rows() == before

    def test_a_refusal_is_recorded_as_the_users_own(self, user, browser, others):
        browser.send("recovery_verify_setup", recovery_code=others["another user's"])
        row = RecoveryCodeAudit.objects.get(event="recovery.batch.verify_fail")
        assert (row.user, row.actor, row.batch, row.code) == (user, user, None, None)
        assert row.reason == "mismatch"

    def test_without_codes_there_is_nothing_to_test(self, browser):
        answer = browser.send_json("recovery_verify_setup", recovery_code=WRONG_CODE)
        assert (answer.status_code, answer.json()["code"]) == (400, "NoActiveBatch")
        assert not RecoveryCodeCooldown.objects.exists()

    @pytest.mark.parametrize("address", ["", " ", "a@example.com\n.org"])
    def test_without_an_address_no_code_could_work(self, user, browser, address):
        """Such accounts would all share one counter."""
        user.email = address
        user.save()
        [code, *_others] = browser.generate()
        answer = browser.send_json("recovery_verify_setup", recovery_code=code)
        assert (answer.status_code, answer.json()["code"]) == (400, "NoAddress")
        assert RecoveryCodeCooldown.objects.count() == 1  # of the generation

    @pytest.mark.parametrize("is_json", [True, False])
    def test_failures_at_signing_in_make_the_test_wait(
        self, user, generated, post_code, clock, is_json
    ):
        for _ in range(5):
            post_code(user.email, WRONG_CODE, HERE)
        send = generated.send_json if is_json else generated.send
        response = send("recovery_verify_setup", recovery_code=generated.codes[0])
        assert (response.status_code, response["Retry-After"]) == (429, "60")
        if not is_json:
            assert response.context["waiting_for"] == "verify"
        assert not RecoveryCodeSetup.objects.exists()

    def test_failed_tests_make_signing_in_wait(self, user, generated, post_code, clock):
        for _ in range(5):
            generated.send("recovery_verify_setup", recovery_code=WRONG_CODE)
        response = post_code(user.email, generated.codes[0], HERE)
        assert (response.status_code, response["Retry-After"]) == (429, "60")
        assert usable(user) == 10

    def test_a_closed_account_tests_nothing_until_it_has_new_codes(
        self, user, generated, settings, clock
    ):
        """R-52"""
        set_up(settings, HARD_CAP=3)
        for _ in range(3):
            generated.send("recovery_verify_setup", recovery_code=WRONG_CODE)
        answer = generated.send("recovery_verify_setup", recovery_code=generated.codes[0])
        assert answer.status_code == 429
        code = generated.generate()[0]
        answer = generated.send_json("recovery_verify_setup", recovery_code=code)
        assert answer.status_code == 200

    def test_the_owner_is_told_of_many_failures(self, user, generated, clock, settings, committed):
        """R-40"""
        set_up(settings, MAX_LOGIN_ATTEMPTS=100, EMAIL_ASYNC=False)
        for _ in range(10):
            with committed():
                generated.send("recovery_verify_setup", recovery_code=WRONG_CODE)
        assert len(mail.outbox) == 1


class TestRecentSignIn:
    """R-43"""

    @pytest.fixture(autouse=True)
    def max_age(self, settings, clock):
        set_up(settings, REAUTH_MAX_AGE=300)

    def act(self, browser, name, **extra):
        return browser.post(
            reverse(name), {"confirm": "on", "recovery_code": browser.codes[0]}, **extra
        )

    @pytest.mark.parametrize("name", CHANGES)
    def test_a_stale_session_is_sent_to_sign_in_and_changes_nothing(
        self, generated, name, clock, events
    ):
        clock.shift(301)
        before = rows()
        response = self.act(generated, name)
        assert (response.status_code, response.url) == (302, f"/password/?next={DASHBOARD}")
        answer = self.act(generated, name, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (403, "sign_in")
        assert answer.json()["redirect_to"] == f"/password/?next={DASHBOARD}"
        assert rows() == before
        assert events()[-1] == ("reauth.fail", "stale")

    @pytest.mark.parametrize("is_json", [True, False])
    def test_a_sign_in_page_of_another_host_is_told_the_whole_address(
        self, generated, settings, clock, is_json
    ):
        """As Django's own `LoginRequiredMixin` does it."""
        settings.LOGIN_URL = "https://sso.example.org/sign-in"
        clock.shift(301)
        response = self.act(generated, "recovery_generate", headers=JSON if is_json else None)
        target = response.json()["redirect_to"] if is_json else response.url
        assert target == (f"https://sso.example.org/sign-in?next=http%3A//testserver{DASHBOARD}")
        assert target == Client().get(DASHBOARD).url

    @pytest.mark.parametrize("login_url", ["http://testserver/password/", "//testserver/in/"])
    def test_an_absolute_address_of_this_host_gets_the_path(
        self, generated, settings, clock, login_url
    ):
        settings.LOGIN_URL = login_url
        clock.shift(301)
        assert self.act(generated, "recovery_generate").url == f"{login_url}?next={DASHBOARD}"

    def test_a_stale_session_that_tries_on_is_recorded_once_an_hour(
        self, generated, clock, events
    ):
        """R-122"""
        clock.shift(301)
        for _ in range(10):
            self.act(generated, "recovery_delete")
        assert events().count(("reauth.fail", "stale")) == 1
        clock.shift(3600)
        self.act(generated, "recovery_delete")
        assert events().count(("reauth.fail", "stale")) == 2

    @pytest.mark.parametrize("name", CHANGES)
    def test_a_session_of_that_age_still_acts(self, generated, name, clock):
        clock.shift(300)
        response = self.act(generated, name)
        assert "/password/" not in response.headers.get("Location", "")
        assert response.status_code in {200, 302}

    def test_signing_in_by_password_makes_it_fresh(self, user, generated, clock):
        clock.shift(301)
        self.act(generated, "recovery_download")
        generated.post("/password/", {"username": user.username, "password": PASSWORD})
        assert self.act(generated, "recovery_download").status_code == 200

    def test_signing_in_by_code_makes_it_fresh(self, user, generated, clock, post_code):
        clock.shift(301)
        post_code(user.email, generated.codes[1], HERE, client=generated)
        assert self.act(generated, "recovery_invalidate").url == DASHBOARD

    @pytest.mark.parametrize("name", ["recovery_verify_setup", "recovery_saved"])
    def test_what_changes_no_code_does_not_ask(self, generated, name, clock):
        clock.shift(10_000)
        assert "/password/" not in self.act(generated, name).url

    def test_reading_does_not_ask(self, generated, clock):
        clock.shift(10_000)
        assert generated.open().status_code == 200
        assert state(generated) == "none"

    def test_a_session_from_before_the_setting_is_stale(self, generated):
        session = generated.session
        del session["recovery_backend_signed_in_at"]
        session.save()
        assert "/password/" in self.act(generated, "recovery_generate").url

    def test_by_default_no_age_is_asked_for(self, generated, settings, clock):
        set_up(settings, REAUTH_MAX_AGE=None)
        clock.shift(10**6)
        assert self.act(generated, "recovery_delete_all").url == DASHBOARD


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


class TestNotices:
    """R-40, R-122: the owner is told of each change, once, and not endlessly."""

    @pytest.fixture(autouse=True)
    def mails_at_once(self, at_once, clock):
        pass

    @pytest.mark.parametrize(
        "name",
        ["recovery_generate", "recovery_download", "recovery_invalidate", "recovery_delete"]
        + ["recovery_delete_all"],
    )
    def test_each_change_is_told_once(self, user, generated, committed, name):
        with committed():
            generated.send(name, confirm="on", recovery_code=generated.codes[0])
        [message] = mail.outbox
        assert message.to == [user.email]
        assert not any(code[:13] in str(message.message()) for code in generated.codes)

    def test_an_e_mail_of_codes_is_told_in_another_one(self, user, generated, committed):
        with committed():
            generated.send("recovery_email")
        assert sorted(bool(codes_in(m, generated.codes)) for m in mail.outbox) == [False, True]

    @pytest.mark.parametrize("name", ["recovery_verify_setup", "recovery_saved"])
    def test_what_changes_no_code_is_not_told(self, generated, committed, name):
        with committed():
            generated.send(name, recovery_code=generated.codes[0])
        assert mail.outbox == []

    def test_of_one_kind_five_an_hour_are_sent(self, generated, committed, clock):
        for code in generated.codes[:7]:
            with committed():
                generated.send("recovery_invalidate", recovery_code=code)
        assert len(mail.outbox) == 5
        with committed():
            generated.send("recovery_delete", recovery_code=generated.codes[0])
        assert len(mail.outbox) == 6
        clock.shift(3600)
        with committed():
            generated.send("recovery_invalidate", recovery_code=generated.codes[7])
        assert len(mail.outbox) == 7

    def test_another_users_notices_are_counted_apart(
        self, generated, committed, make_user, make_browser
    ):
        for code in generated.codes[:6]:
            with committed():
                generated.send("recovery_invalidate", recovery_code=code)
        other = make_browser(make_user())
        with committed():
            other.send("recovery_generate")
        assert len(mail.outbox) == 6

    def test_of_failures_an_owner_is_told_five_times_an_hour(
        self, user, generated, committed, try_code, settings, events
    ):
        """R-122: whoever has a code of this address can bring the count back to nothing."""
        set_up(settings, MAX_LOGIN_ATTEMPTS=100, CLIENT_RATE="1000/m")
        for code in generated.codes[:7]:
            with committed():
                for _ in range(10):
                    try_code(user.email, WRONG_CODE)
            try_code(user.email, code)
        assert events().count(("login.alerted", "")) == 7
        assert len([message for message in mail.outbox if "ailed" in message.subject]) == 5

    def test_a_broken_cache_keeps_nobody_from_being_told(
        self, user, generated, committed, settings
    ):
        row = RecoveryCodeAudit.objects.filter(event="recovery.batch.generated").get()
        settings.CACHES = {"default": {"BACKEND": "tests.test_backends.BrokenCache"}}
        with committed():
            tasks.notify(tasks.Notice.CODES_GENERATED, row)
        assert len(mail.outbox) == 1


@pytest.mark.django_db(transaction=True)
class TestAtomicRequests:
    """What was counted, changed and recorded outlives an error later in the request."""

    @pytest.fixture(autouse=True)
    def atomic_requests(self, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    def test_every_action_works(self, user, browser):
        browser.codes = browser.generate()
        for name in [*(name for name in ACTIONS if name != "recovery_delete_all"), ACTIONS[-1]]:
            response = browser.send(name, confirm="on", recovery_code=browser.codes[0])
            assert response.status_code in {200, 302}
        assert usable(user) == 0

    def test_a_look_holds_no_transaction_open(self, browser, monkeypatch):
        """On SQLite ten looks at once would be locked out of the one view, with a 500."""
        browser.send("recovery_generate")
        held = []
        overview_of = history.overview_of

        def watched(user):
            held.append(connection.in_atomic_block)
            return overview_of(user)

        monkeypatch.setattr(history, "overview_of", watched)
        assert browser.open().context["plaintext"].codes
        assert held == [False]

    def test_a_charge_outlives_an_error(self, user, make_codes, make_browser, monkeypatch):
        """R-51"""
        make_codes(user)
        browser = make_browser(user)

        def broken(*args, **kwargs):
            raise RuntimeError("a fault after the charge")

        monkeypatch.setattr("recovery_backend.views.actions.ActionView.problem", broken)
        browser.raise_request_exception = False
        assert browser.send("recovery_verify_setup", recovery_code=WRONG_CODE).status_code == 500
        assert RecoveryCodeCooldown.objects.filter(failures=1).count() == 2

    def test_a_generation_outlives_an_error(self, user, browser, monkeypatch):
        def broken(*args, **kwargs):
            raise RuntimeError("a fault after the change")

        monkeypatch.setattr("recovery_backend.views.actions.ActionView.done", broken)
        browser.raise_request_exception = False
        assert browser.send("recovery_generate").status_code == 500
        assert usable(user) == 10


class TestAsgi:
    """The same under ASGI."""

    def test_codes_are_generated_shown_once_and_downloaded(self, user):
        client = AsyncClient()
        client.force_login(user)

        async def journey():
            made = await client.post(reverse("recovery_generate"))
            pages = [await client.get(DASHBOARD) for _ in range(2)]
            return made, pages, await client.post(reverse("recovery_download"))

        made, pages, file = async_to_sync(journey)()
        assert made.status_code == 302
        first, second = (page.context["plaintext"].codes for page in pages)
        assert len(first) == 10 and second == ()
        assert file.status_code == 200 and first[0] in file.text


class TestFaults:
    """R-31"""

    @pytest.mark.parametrize("name", CHANGES)
    def test_what_cannot_be_recorded_does_not_happen(self, user, generated, name):
        """R-115: the change and its event commit together, or neither."""
        before = rows()
        generated.raise_request_exception = False
        data = {"confirm": "on", "recovery_code": generated.codes[0]}
        with broken_audit():
            response = generated.send(name, **data)
        assert response.status_code == 500
        assert not any(code in response.text for code in generated.codes)
        assert rows() == before
        assert generated.send(name, **data).status_code in {200, 302}
        assert rows() != before

    def test_a_look_that_cannot_be_recorded_shows_nothing_and_is_not_used_up(self, browser):
        browser.send("recovery_generate")
        browser.raise_request_exception = False
        with broken_audit():
            assert browser.open().status_code == 500
        assert browser.open().context["plaintext"].codes

    @pytest.mark.parametrize(
        "target",
        [
            "recovery_backend.history.overview_of",
            "recovery_backend.history.Overview.page",
            "recovery_backend.emails.site_name",
            "recovery_backend.views.dashboard._messages",
        ],
    )
    def test_a_page_that_cannot_be_made_does_not_use_up_the_look(
        self, browser, monkeypatch, target
    ):
        """R-74"""
        browser.send("recovery_generate")
        browser.raise_request_exception = False

        def broken(*args, **kwargs):
            raise RuntimeError("a fault")

        with monkeypatch.context() as patched:
            patched.setattr(target, broken)
            assert browser.open().status_code == 500
        assert browser.open().context["plaintext"].codes

    @pytest.mark.parametrize("name", ACTIONS)
    def test_with_the_cache_down_nothing_is_changed_and_that_is_said(
        self, user, generated, settings, name, caplog
    ):
        before = rows()
        settings.CACHES = {"default": {"BACKEND": "tests.test_backends.BrokenCache"}}
        data = {"confirm": "on", "recovery_code": generated.codes[0]}
        page, answer = generated.send(name, **data), generated.send_json(name, **data)
        assert (page.status_code, answer.status_code) == (503, 503)
        assert answer.json()["code"] == "unavailable"
        assert "Nothing was changed." in answer.json()["detail"]
        assert answer.json()["detail"] in page.text
        assert {"no-store", "private"} <= set(page["Cache-Control"].split(", "))
        assert rows() == before
        assert "action not counted: ConnectionError" in caplog.text
        assert "cache is gone" not in caplog.text + page.text
        assert generated.open().status_code == 200

    def test_a_wrong_setting_is_no_cache_that_is_down(self, generated, settings):
        """R-147"""
        set_up(settings, CLIENT_RATE="often")
        with pytest.raises(ImproperlyConfigured, match="CLIENT_RATE"):
            generated.send("recovery_generate", confirm="on")

    @pytest.mark.parametrize(
        "value", ["\x00", "x" * 100_000, "%s{}", "\u202e\u200b", "<script>alert(1)</script>"]
    )
    @pytest.mark.parametrize("name", ACTIONS)
    def test_hostile_input_is_answered_and_never_a_500(self, generated, name, value):
        before = rows()
        fields = ["recovery_code", "batch", "format", "days_to_expire", "confirm"]
        response = generated.send(name, **dict.fromkeys(fields, value))
        assert response.status_code in {200, 302, 404}
        page = generated.open()
        assert "<script>alert" not in response.text + page.text
        assert rows() == before

    @pytest.mark.parametrize("name", ACTIONS)
    def test_raw_bytes_are_answered(self, generated, name):
        url, kind = reverse(name), "application/x-www-form-urlencoded"
        body = b"recovery_code=\xff\xfe&batch=\xed\xa0\x80&format=%00&days_to_expire=%ff"
        assert generated.post(url, body, content_type=kind).status_code in {302, 404}
        response = generated.post(url, b"[1, 2", content_type="application/json")
        assert response.status_code in {200, 302}
