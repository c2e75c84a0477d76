"""What administrators are told of a run."""

from __future__ import annotations

import pytest
from django.core import mail

from recovery_backend import tasks
from recovery_backend.models import RecoveryCodeBatch
from tests.runs.conftest import ADMIN, MINUTE, REMINDERS
from tests.test_emails import HOSTILE_NAMES, BrokenMail, as_read, bodies, use_mail_backend


def test_a_report_says_what_was_done_in_counts_only(row, make_old, user, reports, settings):
    """R-112"""
    settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL_HOST_USER = "robot@example.com"
    settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_USERNAME = "Ada"
    settings.DJANGO_AUTH_RECOVERY_CODES_SITE_NAME = "Example"
    batch = make_old(3)
    secrets = [value for code in batch.codes.values() for value in map(str, code.values())]
    assert tasks.run_cleanup(row.pk) == "done"
    (report,) = reports
    assert (report.to, report.from_email) == ([ADMIN], "robot@example.com")
    assert report.subject == "[Example] Scheduled run done: nightly"
    row.refresh_from_db()
    for text in as_read(report):
        assert "Hello Ada," in text and "nightly (purge of codes)" in text
        for label, value in {"Codes removed": 3, "Batches removed": 0, "Retention": 30}.items():
            assert label in text and str(value) in text
        assert f"{row.next_run:%Y-%m-%d %H:%M} UTC" in text
        assert user.email not in text and user.username not in text
        assert not [it for it in secrets if len(it) > 12 and it in text]
    assert sum(map(len, bodies(report))) < 20_000


def test_a_report_of_reminders_counts_messages(make_row, make_user, reports):
    RecoveryCodeBatch.create_recovery_batch(make_user(), days_to_expire=3)
    assert tasks.run_reminders(make_row(REMINDERS).pk) == "done"
    _reminder, report = reports
    assert "Messages sent: 1" in report.body
    assert "Codes removed" not in report.body


def test_a_run_that_removed_nothing_sends_nothing(row, reports):
    assert tasks.run_cleanup(row.pk) == "done"
    assert reports == []


def test_an_end_of_failures_is_told(row, settings, clock, reports):
    settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE = "broken"
    assert tasks.run_cleanup(row.pk) == "failed"
    del settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE
    clock.shift(6 * MINUTE)
    assert tasks.run_cleanup(row.pk) == "done"
    assert [report.subject.split(":")[0] for report in reports] == [
        *("Scheduled run failed", "Scheduled run done")
    ]


@pytest.mark.parametrize("without", ["address", "wish"])
def test_a_report_is_sent_to_nobody_who_did_not_ask(make_row, make_old, settings, without):
    if without == "wish":
        settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL = ADMIN
    row = make_row(sends_report=without == "address")
    make_old(1)
    assert tasks.run_cleanup(row.pk) == "done"
    assert mail.outbox == []


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_of_a_schedule_stays_text(make_row, make_old, reports, name):
    row = make_row(name=name[:100])
    make_old(1)
    assert tasks.run_cleanup(row.pk) == "done"
    (report,) = reports
    assert "\n" not in report.subject and "\r" not in report.subject
    assert report.recipients() == [ADMIN]
    html = bodies(report)[1]
    assert "<script>" not in html and "\u202e" not in html + report.body
    assert "\n1. forged" not in report.body


def test_a_mail_server_that_is_down_harms_no_run(row, make_old, reports, settings, caplog):
    make_old(1)
    use_mail_backend(settings, f"{BrokenMail.__module__}.BrokenMail")
    assert tasks.run_cleanup(row.pk) == "done"
    assert "report not sent" in caplog.text and "ConnectionRefusedError" in caplog.text
    row.refresh_from_db()
    assert row.failures == 0


def test_reports_are_in_the_language_of_the_site(row, make_old, reports):
    from django.utils.translation import override

    make_old(1)
    with override("ar"):
        assert tasks.run_cleanup(row.pk) == "done"
    assert "Scheduled run done" in reports[0].subject
