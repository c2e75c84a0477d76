"""What owners are told of the changes to their codes."""

from __future__ import annotations

import pytest
from django.core import mail

from recovery_backend import tasks
from recovery_backend.audit import RecoveryCodeAudit
from tests.conftest import WRONG_CODE
from tests.owner import codes_in, set_up


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
