"""The audit: bounded, not to be turned off, and told to whoever has to know."""

from __future__ import annotations

import itertools
import logging
import re
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncClient, Client
from django.utils.translation import override
from django_q.models import OrmQ
from hypothesis import given
from hypothesis import strategies as st

from recovery_backend import audit, cooldown, signals, tasks
from recovery_backend.audit import LEVELS, OWASP, Event, Reason, RecoveryCodeAudit
from recovery_backend.clients import Client as Caller
from recovery_backend.conf import conf, table
from recovery_backend.cooldown import RecoveryCodeCooldown, is_recorded
from recovery_backend.models import RecoveryCode, RecoveryCodeAuditScheduler
from tests.conftest import LOGIN, WRONG_CODE
from tests.test_emails import bodies, use_mail_backend
from tests.test_middleware import broken_audit

ROOT = Path(__file__).parent.parent
CSRF_VIEW = "django.middleware.csrf.CsrfViewMiddleware"
# Of the Logging Vocabulary Cheat Sheet, without those of uploads and of user management.
VOCABULARY = {
    *("authn_login_success", "authn_login_successafterfail", "authn_login_fail"),
    *("authn_login_fail_max", "authn_login_lock", "authn_password_change"),
    *("authn_password_change_fail", "authn_impossible_travel", "authn_token_created"),
    *("authn_token_revoked", "authn_token_reuse", "authn_token_delete"),
    *("authz_fail", "authz_change", "authz_admin"),
    *("crypt_decrypt_fail", "crypt_encrypt_fail", "excess_rate_limit_exceeded"),
    *("input_validation_fail", "input_validation_discrete_fail"),
    *("malicious_excess_404", "malicious_extraneous", "malicious_attack_tool"),
    *("malicious_cors", "malicious_direct_reference", "privilege_permissions_changed"),
    *("sensitive_create", "sensitive_read", "sensitive_update", "sensitive_delete"),
    *("sequence_fail", "session_created", "session_renewed", "session_expired"),
    *("session_use_after_expire", "sys_startup", "sys_shutdown", "sys_restart", "sys_crash"),
    *("sys_monitor_disabled", "sys_monitor_enabled"),
}


@pytest.fixture
def heard():
    """The payloads of `audit_recorded`."""
    payloads = []

    def receiver(sender, signal, **payload):
        payloads.append({"sender": sender, **payload})

    signals.audit_recorded.connect(receiver)
    yield payloads
    signals.audit_recorded.disconnect(receiver)


@pytest.fixture
def set_failures(user):
    """Set the count of failures of the user's account, as if that many had happened."""

    def set_failures(number, email=user.email):
        key = cooldown.account_key(email)
        RecoveryCodeCooldown.objects.update_or_create(
            key=key, defaults={"account": key, "failures": number}
        )

    return set_failures


class TestGrowth:
    """R-122"""

    @given(st.integers(1, 10**9))
    def test_beyond_a_hundred_only_round_counts_have_a_row(self, failures):
        is_round = failures == int(str(failures)[0]) * 10 ** (len(str(failures)) - 1)
        assert is_recorded(failures) is (failures <= 100 or is_round)

    def test_a_hundred_thousand_failures_are_127_rows(self):
        assert sum(map(is_recorded, range(1, 10**5 + 1))) == 127

    @given(st.integers(1, 10**9))
    def test_each_alert_and_each_closing_has_its_row(self, failures):
        if cooldown.is_alert_threshold(failures):
            assert is_recorded(failures)

    def test_a_flood_from_ever_new_networks_is_few_rows_and_all_its_lines(
        self, user, codes, try_code, events, settings, caplog, django_capture_on_commit_callbacks
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_NOTIFY = False
        caplog.set_level(logging.INFO, "recovery_backend")
        with django_capture_on_commit_callbacks(execute=True):
            for number in range(350):
                try_code(user.email, WRONG_CODE, f"10.0.{number // 250}.{number % 250}")
        assert events().count(("login.fail", "unknown")) == 102
        assert caplog.text.count("recovery.login.fail") == 350
        rows = RecoveryCodeAudit.objects.filter(event=Event.LOGIN_FAIL).order_by("pk")
        assert [row.data for row in rows][99:] == [{}, {"failures": 200}, {"failures": 300}]
        assert try_code(user.email, codes[0], "10.1.0.0") == user

    @pytest.mark.parametrize("use_cache", [True, False])
    def test_waits_of_a_flooded_account_have_no_rows(
        self, user, post_code, set_failures, events, settings, use_cache
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_AUTH_RATE_LIMITER_USE_CACHE = use_cache
        set_failures(1000)
        for address in ("10.0.0.1", "10.0.0.2"):
            for _ in range(8):
                post_code(user.email, WRONG_CODE, address)
        assert events() == []

    def test_refusals_of_a_flooded_account_cost_the_same(
        self, user, make_user, make_codes, codes, try_code, set_failures, statements
    ):
        """R-26: a row, or none, follows from the count and never from the code."""
        other_codes = make_codes(make_user())
        assert try_code(user.email, codes[0], "10.1.0.0") == user
        tries = {"wrong": WRONG_CODE, "used": codes[0], "foreign": other_codes[0], "text": "x"}
        addresses = (f"10.0.0.{number}" for number in itertools.count())
        for failures in (98, 99, 100, 498, 499, 500):
            costs = {}
            for name, code in tries.items():
                set_failures(failures)
                with statements() as queries:
                    assert try_code(user.email, code, next(addresses)) is None
                costs[name] = len(queries)
            assert len(set(costs.values())) == 1, (failures, costs)

    def test_a_success_starts_the_rows_anew(self, user, codes, try_code, set_failures, events):
        set_failures(5000)
        assert try_code(user.email, codes[0]) == user
        try_code(user.email, WRONG_CODE)
        assert events()[-1] == ("login.fail", "unknown")


class TestAlwaysOn:
    def test_no_setting_turns_the_audit_off(self):
        """R-120: what there is says for how long rows are kept, and what is done with them."""
        names = {row.name.partition("_RECOVERY_")[2] for row in table() if "AUDIT" in row.name}
        assert names == {
            "CODE_AUDIT_ENABLE_AUTO_CLEANUP",
            "CODES_AUDIT_CHAIN",
            "CODE_AUDIT_RETENTION_DAYS",
        }

    def test_a_retention_of_none_is_no_setting(self, settings):
        """R-120"""
        settings.DJANGO_AUTH_RECOVERY_CODE_AUDIT_RETENTION_DAYS = 0
        with pytest.raises(ImproperlyConfigured, match="AUDIT_RETENTION_DAYS"):
            _ = conf.AUDIT_RETENTION_DAYS

    def test_each_event_is_logged_too(self, db, caplog, django_capture_on_commit_callbacks):
        """R-120: where the table is lost, the log is not."""
        caplog.set_level(logging.INFO, "recovery_backend")
        with django_capture_on_commit_callbacks(execute=True):
            for event in Event:
                audit.record(audit.entry(event))
        assert [line.split()[0] for line in caplog.messages] == [event.value for event in Event]

    def test_without_the_audit_nobody_signs_in_and_no_code_is_lost(
        self, user, codes, try_code, caplog
    ):
        """R-121: strict always. A sign-in that nobody would hear of does not happen."""
        with broken_audit():
            assert try_code(user.email, codes[0]) is None
            assert try_code(user.email, WRONG_CODE) is None
        assert RecoveryCode.objects.usable().count() == 3
        assert "sign-in refused: DatabaseError" in caplog.text
        assert codes[0] not in caplog.text
        assert try_code(user.email, codes[0]) == user

    def test_without_the_audit_other_ways_to_sign_in_go_on(self, user, client):
        """R-121"""
        with broken_audit():
            client.post("/password/", {"username": "owner", "password": "correct horse"})
        assert client.session["_auth_user_id"] == str(user.pk)


class TestSignal:
    """R-124"""

    def test_each_event_has_a_name_of_the_vocabulary(self):
        assert set(OWASP) == set(Event)
        assert set(OWASP.values()) <= VOCABULARY

    def test_the_docs_say_the_same(self):
        text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `(recovery\.[\w.]+)` \| \w+ \| `(\w+)` \|", text, re.MULTILINE)
        assert dict(rows) == {event.value: OWASP[event] for event in Event}

    def test_it_follows_the_commit_with_row_level_and_name(
        self, user, codes, try_code, heard, django_capture_on_commit_callbacks
    ):
        with django_capture_on_commit_callbacks(execute=True):
            try_code(user.email, codes[0])
            assert heard == []
        [payload] = heard
        row = RecoveryCodeAudit.objects.get(event=Event.LOGIN_SUCCESS)
        assert payload["sender"] is RecoveryCodeAudit and payload["audit"] == row
        assert (payload["level"], payload["owasp"]) == (logging.INFO, "authn_login_success")

    def test_it_is_sent_for_rows_only(
        self, user, try_code, heard, set_failures, django_capture_on_commit_callbacks
    ):
        set_failures(100)
        with django_capture_on_commit_callbacks(execute=True):
            try_code(user.email, WRONG_CODE)
        assert heard == []

    def test_the_level_is_the_one_of_the_log(self, db, heard, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            for event in Event:
                audit.record(audit.entry(event))
        levels = [payload["level"] for payload in heard]
        assert levels == [LEVELS.get(event, logging.INFO) for event in Event]

    def test_a_receiver_that_fails_harms_nobody(
        self, user, codes, try_code, heard, django_capture_on_commit_callbacks
    ):
        def receiver(**kwargs):
            raise RuntimeError("of the project")

        signals.audit_recorded.connect(receiver)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                assert try_code(user.email, codes[0]) == user
        finally:
            signals.audit_recorded.disconnect(receiver)
        assert len(heard) == 1


class TestAlerts:
    @pytest.fixture(autouse=True)
    def admin(self, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL = "admin@example.com"
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False

    @pytest.fixture
    def record(self, user, make_request, django_capture_on_commit_callbacks):
        def record(event, **fields):
            client = Caller("198.51.100.7", "<b>Browser</b>")
            with django_capture_on_commit_callbacks(execute=True):
                audit.record(audit.entry(event, client=client, **{"user": user, **fields}))

        return record

    @pytest.mark.parametrize("event", sorted(tasks.ALERTS))
    def test_alarming_events_are_told_at_once(self, user, record, event):
        record(event, data={"number_of_codes": 3, "kind": "audit", "retention_days": 0})
        [message] = mail.outbox
        assert message.to == ["admin@example.com"]
        for body in bodies(message):
            assert event in body and "198.51.100.0/24" in body and str(user.pk) in body
            for private in (user.email, "198.51.100.7", "Browser", "http"):
                assert private not in body.replace("http-equiv", "")

    @pytest.mark.parametrize("event", sorted(set(Event) - tasks.ALERTS))
    def test_other_events_are_not(self, record, event):
        record(event)
        assert mail.outbox == []

    def test_the_end_of_an_alarm_is_none(self, record):
        record(Event.KEY_UNKNOWN, data={"number_of_codes": 0, "key_ids": []})
        assert mail.outbox == []

    @pytest.mark.parametrize("kind", ["codes", "reminders"])
    @pytest.mark.parametrize("event", [Event.SCHEDULER_CREATED, Event.SCHEDULER_CHANGED])
    def test_only_schedules_that_remove_the_audit_are_alarming(self, record, event, kind):
        record(event, data={"kind": kind})
        assert mail.outbox == []

    def test_a_purge_that_takes_what_the_settings_keep_is_alarming(self, record, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_AUDIT_RETENTION_DAYS = 30
        record(Event.AUDIT_PURGED, data={"retention_days": 30, "audit_rows": 3})
        record(Event.AUDIT_PURGED, data={"retention_days": 29, "audit_rows": 0})
        assert mail.outbox == []
        record(Event.AUDIT_PURGED, data={"retention_days": 29, "audit_rows": 3})
        assert len(mail.outbox) == 1

    def test_whoever_adds_a_schedule_and_purges_by_it_is_noticed(
        self, user, make_user, django_capture_on_commit_callbacks
    ):
        with django_capture_on_commit_callbacks(execute=True):
            audit.record(audit.entry(Event.BATCH_VIEWED, user=user))
        row = RecoveryCodeAuditScheduler(name="all of it", retention_days=0)
        row.actor = make_user()
        with django_capture_on_commit_callbacks(execute=True):
            row.save()
        with django_capture_on_commit_callbacks(execute=True):
            tasks.run_audit_cleanup(row.pk)
        told = [message.body for message in mail.outbox if "Done by" in message.body]
        assert len(told) == 1 and f"Done by: {row.actor.pk}\n" in told[0]
        assert any("audit events purged" in message.subject for message in mail.outbox)

    def test_five_of_a_kind_in_an_hour_and_the_word_that_there_is_more(self, record, clock):
        """R-122"""
        for _ in range(9):
            record(Event.AUTHZ_DENIED, reason=Reason.FOREIGN)
        assert ["without another message" in it.body for it in mail.outbox] == [*[False] * 5, True]
        for body in bodies(mail.outbox[5]):
            assert "More of the same may follow within the hour" in body
        record(Event.ROW_TAMPER, reason=Reason.TAMPER)
        assert len(mail.outbox) == 7
        clock.shift(3601)
        record(Event.AUTHZ_DENIED, reason=Reason.FOREIGN)
        assert len(mail.outbox) == 8

    def test_what_happens_to_others_hides_nobody(self, make_user, record, clock):
        for _ in range(6):
            for _ in range(2):
                record(Event.LOGIN_SUSPENDED, user=make_user())
        victim = make_user()
        record(Event.LOGIN_SUSPENDED, user=victim)
        assert f"User: {victim.pk}\n" in mail.outbox[-1].body

    def test_one_member_of_the_staff_cannot_hide_another(self, user, make_user, record, clock):
        busy, other = make_user(), make_user()
        for _ in range(40):
            record(Event.BATCH_EMERGENCY, actor=busy)
        assert len(mail.outbox) == 6
        record(Event.BATCH_EMERGENCY, actor=other)
        assert f"Done by: {other.pk}\n" in mail.outbox[-1].body

    def test_a_flood_of_many_ends_in_the_word_that_there_is_more(self, make_user, record, clock):
        """R-122"""
        for _ in range(40):
            record(Event.LOGIN_SUSPENDED, user=make_user(password=None))
        told = ["without another message" in message.body for message in mail.outbox]
        assert told == [*[False] * 30, True]

    def test_nobody_to_tell(self, record, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL = ""
        record(Event.ROW_TAMPER)
        assert mail.outbox == []

    def test_they_go_through_the_queue(self, record, settings, db):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        record(Event.ROW_TAMPER)
        assert mail.outbox == []
        assert [item.func() for item in OrmQ.objects.all()] == [
            "recovery_backend.tasks.send_alert"
        ]

    def test_a_mail_server_that_is_down_harms_nobody(self, record, settings, caplog):
        use_mail_backend(settings, "tests.test_emails.BrokenMail")
        record(Event.ROW_TAMPER)
        assert "send_alert failed" in caplog.text and "ConnectionRefusedError" in caplog.text

    def test_they_are_not_in_the_language_of_whoever_was_refused(self, record, settings):
        with override("de"):
            record(Event.LOGIN_SUSPENDED)
        assert "closed after too many failures" in mail.outbox[0].subject

    def test_a_row_that_is_gone_is_told_to_nobody(self, db):
        assert tasks.send_alert(10**6) is False

    def test_a_sign_in_is_not_slowed_down_by_what_its_code_is(
        self, user, make_user, codes, try_code, settings, django_capture_on_commit_callbacks
    ):
        """R-26: a genuine code with a wrong address puts nothing more into the queue."""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        stranger = make_user()
        with django_capture_on_commit_callbacks(execute=True):
            try_code(stranger.email, codes[0])
        assert RecoveryCodeAudit.objects.filter(event=Event.LOGIN_OWNER_MISMATCH).exists()
        assert OrmQ.objects.count() == 0 and mail.outbox == []


class TestCsrf:
    """R-115: refused by Django, and recorded by us."""

    @pytest.fixture
    def forged(self):
        return Client(enforce_csrf_checks=True)

    @pytest.fixture(params=["middleware", "decorator"])
    def guard(self, request, settings):
        if request.param == "decorator":
            settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != CSRF_VIEW]

    def post(self, client, path=LOGIN, **extra):
        return client.post(path, {"email": "secret@example.com", "next": "evil"}, **extra)

    def test_a_forged_sign_in_is_recorded_once_an_hour_for_its_network(
        self, db, guard, forged, events, clock
    ):
        for address in ("198.51.100.7", "198.51.100.7", "203.0.113.1"):
            assert self.post(forged, REMOTE_ADDR=address).status_code == 403
        assert events() == [("csrf.fail", "csrf")] * 2
        row = RecoveryCodeAudit.objects.first()
        assert (row.user, row.actor, row.account, row.data) == (None, None, "", {})
        assert (row.address, row.path) == ("198.51.100.7", LOGIN)

    @pytest.mark.parametrize("name", ["generate", "delete-all", "verify", "logout"])
    def test_a_forged_change_is_recorded_once_an_hour_for_its_user(
        self, user, guard, forged, events, name
    ):
        forged.force_login(user)
        for address in ("198.51.100.7", "203.0.113.1"):
            path = f"/auth/recovery-codes/{name}/"
            assert self.post(forged, path, REMOTE_ADDR=address).status_code == 403
        assert events(user=user, actor=None) == [("csrf.fail", "csrf")]

    def test_under_asgi_too(self, db, events):
        async def post():
            return await AsyncClient(enforce_csrf_checks=True).post(LOGIN, {})

        assert async_to_sync(post)().status_code == 403
        assert events() == [("csrf.fail", "csrf")]

    def test_other_pages_are_none_of_our_business(self, db, forged, statements):
        """R-150"""
        with statements() as queries:
            assert self.post(forged, "/password/").status_code == 403
        assert queries == []

    def test_other_refusals_of_our_pages_are_not_forgeries(
        self, user, codes, guard, client, events, settings
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
        assert client.get(LOGIN).status_code == 403
        assert self.post(client).status_code == 403
        assert ("csrf.fail", "csrf") not in events()

    def test_what_cannot_be_recorded_is_refused_all_the_same(self, db, forged, caplog):
        with broken_audit():
            assert self.post(forged).status_code == 403
        assert "recovery.csrf.fail not recorded: DatabaseError" in caplog.text

    def test_a_refused_flood_costs_no_row(self, db, forged, statements, clock):
        """R-122"""
        self.post(forged)
        with statements() as queries:
            for _ in range(20):
                self.post(forged)
        assert queries == []
