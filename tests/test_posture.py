"""What a scheduled run notices by itself: each change once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.core.cache import cache
from django.utils import timezone

from recovery_backend import audit, posture
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit
from recovery_backend.keys import generate_key, write_key
from recovery_backend.models import RecoveryCode
from tests.reminders.conftest import MailThatChanges
from tests.test_emails import bodies, use_mail_backend

pytestmark = [pytest.mark.services, pytest.mark.django_db]
SILENCED = [
    f"recovery_backend.{name}" for name in ("W006", "W023", "E008", "W020", "W021", "W022")
]


@pytest.fixture
def sound(settings):
    """No check of ours has anything to say."""
    settings.SILENCED_SYSTEM_CHECKS = SILENCED


@pytest.fixture
def told(settings):
    settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL = "admin@example.com"
    return mail.outbox


def recorded(event):
    rows = RecoveryCodeAudit.objects.filter(event=event).order_by("pk")
    return list(rows.values_list("data", flat=True))


def rotate(settings):
    """A new key; the one before still reads. Returns both ids."""
    before = write_key().id
    settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [settings.DJANGO_AUTH_RECOVERY_KEY]
    settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
    return before, write_key().id


class TestSettings:
    def test_warnings_are_recorded_once(self, settings, sound):
        settings.DJANGO_AUTH_RECOVERY_CODE_AUDIT_RETENTION_DAYS = 30
        posture.look()
        posture.look()
        assert recorded(Event.SETTINGS_INSECURE) == [{"checks": ["recovery_backend.W024"]}]

    def test_a_change_is_recorded_and_so_is_its_end(self, settings, sound):
        settings.DJANGO_AUTH_RECOVERY_CODE_AUDIT_RETENTION_DAYS = 30
        posture.look()
        settings.DJANGO_AUTH_RECOVERY_CODES_TYPO = 1
        posture.look()
        del settings.DJANGO_AUTH_RECOVERY_CODES_TYPO
        settings.DJANGO_AUTH_RECOVERY_CODE_AUDIT_RETENTION_DAYS = 90
        posture.look()
        posture.look()
        assert [len(data["checks"]) for data in recorded(Event.SETTINGS_INSECURE)] == [1, 2, 0]

    def test_a_sound_site_has_no_row(self, sound, events):
        posture.look()
        assert events() == []

    def test_checks_of_others_are_not_ours_to_record(self, sound, settings):
        settings.SECURE_HSTS_SECONDS = 0
        posture.look()
        assert recorded(Event.SETTINGS_INSECURE) == []

    def test_servers_that_differ_fill_no_table(self, settings, sound):
        """R-122"""
        for _ in range(10):
            for days in (30, 90):
                settings.DJANGO_AUTH_RECOVERY_CODE_AUDIT_RETENTION_DAYS = days
                posture.look()
        assert len(recorded(Event.SETTINGS_INSECURE)) == 2


class TestKeys:
    def test_a_rotation_is_recorded_once(self, codes, settings, sound):
        posture.look()
        before, after = rotate(settings)
        posture.look()
        posture.look()
        assert recorded(Event.KEY_ROTATED) == [{"key_id": after, "before": before}]

    def test_going_back_is_a_rotation_too(self, codes, settings, sound):
        first = settings.DJANGO_AUTH_RECOVERY_KEY
        rotate(settings)
        posture.look()
        settings.DJANGO_AUTH_RECOVERY_KEY = first
        posture.look()
        assert [data["key_id"] for data in recorded(Event.KEY_ROTATED)][-1] == write_key().id
        assert len(recorded(Event.KEY_ROTATED)) == 2

    def test_a_new_site_has_rotated_nothing(self, sound, events):
        posture.look()
        assert events() == []

    def test_codes_of_a_lost_key_are_recorded_until_it_is_back(self, codes, settings, sound):
        """R-13"""
        before, _ = rotate(settings)
        kept = settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS
        for fallbacks in ([], [], kept, kept):
            settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = fallbacks
            posture.look()
        assert recorded(Event.KEY_UNKNOWN) == [
            {"number_of_codes": 3, "key_ids": [before]},
            {"number_of_codes": 0, "key_ids": []},
        ]

    def test_fewer_codes_of_a_lost_key_are_no_news(self, codes, settings, sound):
        rotate(settings)
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
        posture.look()
        RecoveryCode.objects.filter(pk=RecoveryCode.objects.first().pk).update(status="used")
        posture.look()
        assert len(recorded(Event.KEY_UNKNOWN)) == 1

    def test_looking_costs_few_statements(self, codes, sound, told, statements):
        posture.look()
        with statements() as queries:
            posture.look()
        assert len(queries) <= 9


class TestAlerts:
    """R-122: what could not be told at once, without saying to whom it happens that it did."""

    @pytest.fixture
    def refuse(self, user):
        def refuse(event=Event.LOGIN_OWNER_MISMATCH, number=1, owner=user):
            at = timezone.now() - posture.SETTLED
            for _ in range(number):
                audit.record(audit.entry(event, reason=Reason.MISMATCH, user=owner, at=at))

        return refuse

    def test_a_code_with_another_address_is_told_once(self, refuse, sound, told):
        refuse(number=2)
        posture.look()
        posture.look()
        [message] = told
        assert message.to == ["admin@example.com"]
        assert "code of another account" in message.subject
        assert "How often: 2" in message.body

    def test_a_used_code_is_told_when_it_keeps_coming(self, refuse, sound, told, clock):
        refuse(Event.CODE_REPLAY, number=2)
        posture.look()
        assert told == []
        clock.shift(86_400)
        refuse(Event.CODE_REPLAY)
        posture.look()
        assert len(told) == 1 and "How often: 3" in told[0].body

    def test_all_owners_are_told_of_in_one_message(self, make_user, refuse, sound, told):
        owners = [make_user() for _ in range(8)]
        for owner in owners:
            refuse(owner=owner, number=2)
        posture.look()
        [message] = told
        named = ", ".join(str(owner.pk) for owner in owners[:2:-1])
        for body in bodies(message):
            assert f"8 ({named}, …)" in body
        assert "How often: 16" in message.body

    def test_there_is_one_message_an_hour_and_nobody_is_left_out(
        self, make_user, refuse, sound, told, clock
    ):
        for _ in range(3):
            for _ in range(6):
                refuse(owner=make_user())
            posture.look()
        assert len(told) == 1 and "Users: 6 (" in told[0].body
        clock.shift(3601)
        posture.look()
        posture.look()
        assert len(told) == 2 and "Users: 12 (" in told[1].body

    @pytest.mark.parametrize("is_first", [True, False])
    def test_an_owner_whose_row_is_fresh_is_told_of_later(
        self, user, make_user, refuse, sound, told, clock, is_first
    ):
        """Rows that are committed late, or by another clock, may come before this one."""
        fresh = audit.entry(Event.LOGIN_OWNER_MISMATCH, reason=Reason.MISMATCH, user=user)
        if is_first:
            audit.record(fresh)
        refuse(owner=make_user())
        if not is_first:
            audit.record(fresh)
        posture.look()
        clock.shift(3601)
        posture.look()
        last = "Users: 2 (" if is_first else f"User: {user.pk}\n"
        assert len(told) == (1 if is_first else 2) and last in told[-1].body

    @pytest.mark.parametrize("ahead", [5, 3600, 365 * 86_400])
    def test_a_clock_that_is_ahead_hides_nothing(self, user, refuse, sound, told, clock, ahead):
        at = timezone.now() + timedelta(seconds=ahead)
        audit.record(audit.entry(Event.LOGIN_OWNER_MISMATCH, user=user, at=at))
        refuse(owner=None)
        for _ in range(2):
            posture.look()
            clock.shift(3601)
        assert any(
            f"User: {user.pk}\n" in message.body or "Users: 2" in message.body for message in told
        )

    def test_what_is_written_while_others_are_told_of_is_for_the_next_look(
        self, make_user, refuse, sound, told, settings, monkeypatch, clock
    ):
        late = make_user()
        monkeypatch.setattr(MailThatChanges, "meanwhile", lambda _: refuse(owner=late))
        use_mail_backend(settings, "tests.reminders.conftest.MailThatChanges")
        refuse()
        posture.look()
        monkeypatch.setattr(MailThatChanges, "meanwhile", lambda _: None)
        clock.shift(3601)
        posture.look()
        assert f"User: {late.pk}\n" in told[1].body

    def test_a_cache_that_forgot_has_it_told_again(self, refuse, sound, told):
        refuse()
        posture.look()
        cache.clear()
        posture.look()
        assert len(told) == 2

    def test_nobody_to_tell(self, refuse, sound):
        refuse()
        posture.look()
        assert mail.outbox == []

    def test_a_mail_server_that_is_down_stops_nothing(self, refuse, sound, told, settings, caplog):
        use_mail_backend(settings, "tests.test_emails.BrokenMail")
        refuse()
        posture.look()
        assert "alert not sent" in caplog.text and "ConnectionRefusedError" in caplog.text

    def test_what_a_mail_server_did_not_take_is_told_later(
        self, refuse, sound, told, settings, clock
    ):
        use_mail_backend(settings, "tests.test_emails.BrokenMail")
        refuse()
        posture.look()
        use_mail_backend(settings, "django.core.mail.backends.locmem.EmailBackend")
        clock.shift(3601)
        posture.look()
        assert len(told) == 1
