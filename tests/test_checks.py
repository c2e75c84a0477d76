"""R-145: what `manage.py check` says, by id."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.checks import ERROR
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import DatabaseError
from django.db.models import QuerySet
from django.utils import timezone
from django_q.models import Schedule

from recovery_backend import checks, codes
from recovery_backend.keys import generate_key, write_key
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodePurgeHistory,
    RecoveryCodeQuerySet,
)

pytestmark = pytest.mark.django_db  # some checks of Django ask the database what it can do

PREFIX = "DJANGO_AUTH_RECOVERY_"
REDIS = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://"}
}
LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
SESSIONS = "django.contrib.sessions.backends."

QUICKSTART = {
    "KEY": "4b7d1f0c9a6e83520d1c2b3a495867f6e5d4c3b2a19087f6e5d4c3b2a1908776",
    "CODE_ADMIN_EMAIL": "admin@example.com",
    "CODE_ADMIN_EMAIL_HOST_USER": "no-reply@example.com",
    "CODE_ADMIN_USERNAME": "Admin",
    "CODES_SITE_NAME": "Example",
    "CODE_AUDIT_ENABLE_AUTO_CLEANUP": 30,
    "CODE_AUDIT_RETENTION_DAYS": 30,
    "CODE_MAX_VISIBLE": 20,
    "CODE_PER_PAGE": 5,
    "CODE_PURGE_DELETE_RETENTION_DAYS": 30,
    "CODE_PURGE_DELETE_SCHEDULER_USE_LOGGER": True,
    "CODE_REDIRECT_VIEW": "recovery_dashboard",
    "CODE_REDIRECT_VIEW_AFTER_LOGOUT": "login_user",
    "CODE_STORE_EMAIL_LOG": False,
    "CODES_EMAIL_SENDER_LOGGING": False,
    "CODES_AUTH_RATE_LIMITER_USE_CACHE": True,
    "CODES_BASE_COOLDOWN": 60,
    "CODES_COOLDOWN_MULTIPLIER": 2,
    "CODES_COOLDOWN_CUTOFF_POINT": 3600,
    "CODES_MAX_LOGIN_ATTEMPTS": 5,
    "CODES_BATCH_DELETE_SIZE": 1000,
    "CODES_MAX_DELETIONS_PER_RUN": -1,
    "CODES_CACHE_TTL": 300,
    "CODES_CACHE_MIN": 0,
    "CODES_CACHE_MAX": 3600,
    "CODES_DEFAULT_FILE_NAME": "recovery_codes",
    "CODES_DEFAULT_FORMAT": "txt",
}


@pytest.fixture(autouse=True)
def shared_cache(settings):
    settings.CACHES = REDIS
    yield
    settings.CACHES = LOCAL


def ids(messages):
    return [message.id.removeprefix("recovery_backend.") for message in messages]


def everything():
    return [message for check in checks.CHECKS for message in check(None)]


def test_a_well_configured_project_hears_nothing():
    assert everything() == []


def test_every_message_says_what_to_do(settings):
    settings.MIDDLEWARE, settings.AUTHENTICATION_BACKENDS, settings.CACHES = [], [], LOCAL
    settings.DJANGO_AUTH_RECOVERY_KEY = ""
    settings.DJANGO_AUTH_RECOVERY_CODE_AUDIT_ENABLE_AUTO_CLEANUP = 30
    messages = everything() + checks.check_posture(None)
    assert len(messages) >= 6
    assert all(message.hint and message.msg.endswith(".") for message in messages)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CODE_PER_PAGE", 0, ["E001"]),
        ("CODE_PER_PAGE", True, ["E001"]),
        ("CODES_LOGIN_MODE", "sometimes", ["E001"]),
        ("CODES_MAX_LOGIN_ATTEMPTS", "5", ["E001"]),
        ("CODES_CLIENT_RATE", "often", ["E001"]),
        ("CODES_HARD_CAP", 101, ["E001"]),
        ("CODE_AUDIT_ENABLE_AUTO_CLEANUP", 30, ["W001"]),
        ("CODES_COOLDOWN", 60, ["W002"]),
        ("KEY", "", ["E002"]),
        ("KEY", "short", ["E002"]),
        ("KEY", "change-me " * 8, ["E002"]),
        ("KEY_FALLBACKS", ["short"], ["E003"]),
        ("KEY_FALLBACKS", "short", ["E003"]),
        ("CODE_REDIRECT_VIEW", "no_such_name", ["W008"]),
        ("CODE_REDIRECT_VIEW_AFTER_LOGOUT", "no_such_name", ["W008"]),
        ("CODE_REDIRECT_VIEW", "/a/path/", []),
        ("CODE_REDIRECT_VIEW", "https://example.com", []),
        ("CODES_BASE_COOLDOWN", 7200, ["W009"]),
        ("CODES_BASE_COOLDOWN", 3600, []),
        ("CODES_CACHE_MIN", 4000, ["W010"]),
        ("CODES_LOGIN_MODE", "off", []),
        ("CODES_DEFAULT_FILE_NAME", "../../etc/passwd", ["W001"]),
        ("CODES_DEFAULT_FILE_NAME", 5, ["E001"]),
        ("CODES_PDF_FONT", "/nowhere/font.ttf", ["W013"]),
        ("CODES_PDF_FONT", __file__, ["W013"]),
        ("CODES_PDF_FONT", 5, ["E001"]),
    ],
)
def test_a_setting_is_checked(settings, name, value, expected):
    """R-145, R-147, R-18"""
    setattr(settings, PREFIX + name, value)
    assert ids(everything()) == expected


def test_an_unknown_name_is_answered_with_the_nearest_known_one(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATEMPTS = 5
    [message] = checks.check_settings(None)
    assert message.hint == "Did you mean DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS?"


def test_a_missing_key_is_an_error(settings):
    """R-11, R-18"""
    del settings.DJANGO_AUTH_RECOVERY_KEY
    assert ids(everything()) == ["E002"]


def test_secret_key_as_the_key_is_an_error(settings):
    """R-11"""
    settings.SECRET_KEY = settings.DJANGO_AUTH_RECOVERY_KEY
    assert ids(everything()) == ["E002"]


@pytest.mark.parametrize(
    ("alphabet", "length", "expected"),
    [
        (codes.ALPHABET, codes.LENGTH, []),
        (codes.ALPHABET, 30, ["E004"]),
        ("0123456789", 36, ["E004"]),
        ("A" * 56, 36, ["E004"]),
        (codes.ALPHABET, 35, []),
    ],
)
def test_the_entropy_of_a_code_is_checked(monkeypatch, alphabet, length, expected):
    """R-02"""
    monkeypatch.setattr(codes, "ALPHABET", alphabet)
    monkeypatch.setattr(codes, "LENGTH", length)
    assert ids(checks.check_codes(None)) == expected


def test_an_unlisted_backend_is_told_where_it_is_needed(settings):
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    assert ids(everything()) == ["W003"]
    settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
    assert ids(everything()) == []


def test_a_missing_middleware_is_told(settings):
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if "recovery" not in path]
    assert ids(everything()) == ["W004"]


def test_a_middleware_before_authentication_is_an_error(settings):
    settings.MIDDLEWARE = list(reversed(settings.MIDDLEWARE))
    assert ids(everything()) == ["E005"]


def test_a_dashboard_without_messages_is_told(settings):
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if "Message" not in path]
    assert ids(everything()) == ["W012"]


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("signed_cookies", ["E006"]),
        ("cache", ["W005"]),
        ("cached_db", []),
        ("db", []),
        ("file", []),
    ],
)
def test_the_session_engine_is_checked(settings, engine, expected):
    """R-73"""
    settings.SESSION_ENGINE = SESSIONS + engine
    assert ids(everything()) == expected


@pytest.mark.parametrize(
    "backend",
    [
        "django.core.cache.backends.locmem.LocMemCache",
        "django.core.cache.backends.dummy.DummyCache",
    ],
)
def test_a_cache_of_one_process_is_a_warning_and_an_error_for_deployment(settings, backend):
    """R-60"""
    settings.CACHES = {"default": {"BACKEND": backend}}
    assert ids(everything()) == ["W006"]
    assert "E008" in ids(checks.check_posture(None))
    settings.DEBUG = True
    assert ids(everything()) == []


def test_a_missing_queue_is_told(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_q"]
    assert ids(everything()) == ["W007"]


@pytest.mark.parametrize("cluster", [None, {}])
def test_a_queue_that_nobody_placed_is_told(settings, cluster):
    settings.Q_CLUSTER = cluster
    assert ids(everything()) == ["W011"]
    assert "W025" not in ids(checks.check_posture(None))


def test_api_keys_that_are_turned_on_without_their_app_are_told(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = True
    assert ids(everything()) == ["W015"]


def test_missing_urls_are_told(settings):
    settings.ROOT_URLCONF = "django.contrib.auth.urls"
    assert ids(everything()) == ["W008", "W008"]


def test_a_user_model_without_its_email_field_is_an_error(monkeypatch):
    monkeypatch.setattr(get_user_model(), "EMAIL_FIELD", "contact")
    assert ids(everything()) == ["E007"]


def test_a_hardened_project_hears_nothing_before_deployment(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "second_factor"
    settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = 100
    assert checks.check_posture(None) == []


@pytest.mark.parametrize(
    ("name", "value", "number", "is_told"),
    [
        ("CODES_LOGIN_MODE", "sole_login", "W020", True),
        ("CODES_LOGIN_MODE", "second_factor", "W020", False),
        ("CODES_SOLE_LOGIN_FOR_STAFF", True, "W021", True),
        ("CODES_SOLE_LOGIN_FOR_STAFF", False, "W021", False),
        ("CODES_EMAIL_CODES", True, "W022", True),
        ("CODES_EMAIL_CODES", False, "W022", False),
        ("CODES_HARD_CAP", None, "W023", True),
        ("CODES_HARD_CAP", 100, "W023", False),
        ("CODE_AUDIT_RETENTION_DAYS", 89, "W024", True),
        ("CODE_AUDIT_RETENTION_DAYS", 90, "W024", False),
    ],
)
def test_a_trade_off_is_named_before_deployment(settings, name, value, number, is_told):
    """R-145, R-52, R-123"""
    setattr(settings, PREFIX + name, value)
    assert (number in ids(checks.check_posture(None))) is is_told
    assert number not in ids(everything())


@pytest.mark.parametrize(
    ("cluster", "is_told"),
    [
        ({"retry": 60, "timeout": 60}, True),
        ({"retry": 30, "timeout": 90}, True),
        ({"retry": 90, "timeout": 60}, False),
        ({"retry": 90}, False),
        ({"timeout": 60}, True),
        ({}, False),
    ],
)
def test_a_queue_that_repeats_running_tasks_is_told(settings, cluster, is_told):
    """R-145"""
    settings.Q_CLUSTER = cluster
    assert ("W025" in ids(checks.check_posture(None))) is is_told


@pytest.mark.parametrize("name", ["CODES_SOLE_LOGIN_FOR_STAFF", "CODES_HARD_CAP"])
def test_a_wrong_setting_is_reported_before_deployment_and_not_raised(settings, name):
    setattr(settings, PREFIX + name, "wrong")
    assert checks.check_posture(None) == []
    assert ids(everything()) == ["E001"]


def test_the_quickstart_of_the_docs_gives_warnings_at_most(settings):
    """R-145"""
    for name, value in QUICKSTART.items():
        setattr(settings, PREFIX + name, value)
    messages = everything()
    assert ids(messages) == ["W001"]
    assert all(message.level < ERROR for message in messages)
    call_command("check")


class TestRegistration:
    """The functions above are what `manage.py check` runs."""

    def test_an_error_stops_the_check(self, settings):
        settings.DJANGO_AUTH_RECOVERY_KEY = ""
        with pytest.raises(SystemCheckError, match=r"recovery_backend\.E002"):
            call_command("check")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("MIDDLEWARE", []), ("DJANGO_AUTH_RECOVERY_CODE_PER_PAGE", 0)],
    )
    def test_wiring_and_settings_are_checked(self, settings, name, value):
        setattr(settings, name, value)
        with pytest.raises(SystemCheckError, match=r"recovery_backend\.(W004|E001)"):
            call_command("check", fail_level="WARNING")

    def test_entropy_is_checked(self, monkeypatch):
        monkeypatch.setattr(codes, "LENGTH", 10)
        with pytest.raises(SystemCheckError, match=r"recovery_backend\.E004"):
            call_command("check")

    def test_the_posture_is_checked_for_deployment_only(self, settings, capsys):
        settings.CACHES = LOCAL
        call_command("check")
        assert "W020" not in capsys.readouterr().err
        with pytest.raises(SystemCheckError, match=r"recovery_backend\.E008") as caught:
            call_command("check", deploy=True)
        assert "recovery_backend.W020" in str(caught.value)

    def test_stored_keys_are_checked_with_a_database(self, user, make_codes, settings, capsys):
        make_codes(user)
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        call_command("check")
        assert "W030" not in capsys.readouterr().err
        call_command("check", databases=["default"])
        assert "recovery_backend.W030" in capsys.readouterr().err


class TestStoredKeys:
    """R-13, R-14"""

    def test_codes_under_a_lost_key_are_counted(self, user, make_codes, settings):
        old = write_key().id
        make_codes(user, 4)
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        [message] = checks.check_stored_keys(None, databases=["default"])
        assert message.id == "recovery_backend.W030"
        assert message.msg.startswith(f"4 usable codes were made with key {old}")

    def test_a_fallback_is_no_lost_key(self, user, make_codes, settings):
        make_codes(user)
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [settings.DJANGO_AUTH_RECOVERY_KEY]
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        assert checks.check_stored_keys(None, databases=["default"]) == []

    def test_codes_that_nobody_can_use_are_not_counted(self, user, make_codes, settings):
        make_codes(user)
        RecoveryCode.objects.update(expires_at=timezone.now() - timedelta(days=1))
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        assert checks.check_stored_keys(None, databases=["default"]) == []

    def test_no_database_is_read_unasked(self, settings):
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        assert checks.check_stored_keys(None, databases=None) == []

    def test_a_missing_key_is_said_once(self, db, settings):
        settings.DJANGO_AUTH_RECOVERY_KEY = ""
        assert checks.check_stored_keys(None, databases=["default"]) == []

    def test_a_database_before_its_first_migrate_is_no_error(self, monkeypatch):
        def no_table(self):
            raise DatabaseError("no such table")

        monkeypatch.setattr(RecoveryCodeQuerySet, "usable", no_table)
        assert checks.check_stored_keys(None, databases=["default"]) == []


def test_a_proxy_that_is_not_counted_is_told(settings):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert "W027" in ids(checks.check_posture(None))
    settings.DJANGO_AUTH_RECOVERY_CODES_TRUSTED_PROXY_COUNT = 1
    assert "W027" not in ids(checks.check_posture(None))


def test_mail_that_people_wait_for_is_told(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
    assert "W026" in ids(checks.check_posture(None))


@pytest.mark.parametrize("cluster", ["x", {"retry": None}, {"timeout": "5"}, []])
def test_an_odd_queue_setting_crashes_no_check(settings, cluster):
    settings.Q_CLUSTER = cluster
    assert "W025" not in ids(checks.check_posture(None))


# Schedules, with `check --database`


def schedule_ids(databases=("default",)):
    return ids(checks.check_schedules(None, databases))


@pytest.fixture
def schedule(settings):
    settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL = "admin@example.com"
    soon = timezone.now() + timedelta(hours=1)
    return RecoveryCodeCleanUpScheduler.objects.create(name="nightly", run_at=soon)


def test_healthy_schedules_are_silent(schedule):
    assert schedule_ids() == []
    call_command("check", databases=["default"], fail_level="WARNING", deploy=False)


def test_schedules_are_looked_at_with_a_database_only(schedule):
    Schedule.objects.update(args="(")
    assert schedule_ids(None) == []


def test_a_schedule_that_stops_all_others_is_named():
    """W031: of any app."""
    broken = Schedule.objects.create(name="report", func="math.sqrt", args="(1, oops)")
    (message,) = checks.check_schedules(None, ["default"])
    assert message.id == "recovery_backend.W031"
    assert f"{broken.pk} (report)" in message.msg


def test_a_schedule_that_does_not_run_is_named(schedule):
    """W032"""
    Schedule.objects.all().delete()
    (message,) = checks.check_schedules(None, ["default"])
    assert message.id == "recovery_backend.W032" and "nightly" in message.msg


@pytest.mark.parametrize("codename", ["add_schedule", "change_schedule"])
@pytest.mark.parametrize("holder", ["group", "user"])
def test_others_than_superusers_who_may_edit_the_queues_schedules(make_user, codename, holder):
    """R-113: whoever edits one runs any function. To look at them is harmless."""
    ours = {"content_type__app_label": "django_q"}
    user, group = make_user(), Group.objects.create(name="staff")
    permissions = user.user_permissions if holder == "user" else group.permissions
    permissions.add(Permission.objects.get(codename="view_schedule", **ours))
    assert schedule_ids() == []
    permissions.add(Permission.objects.get(codename=codename, **ours))
    assert schedule_ids() == ["W033"]
    user.is_superuser = True
    user.save()
    assert schedule_ids() == (["W033"] if holder == "group" else [])


def test_schedules_that_no_admin_shows_are_edited_by_nobody(make_user):
    """R-113"""
    make_user().user_permissions.add(Permission.objects.get(codename="change_schedule"))
    registered = admin.site._registry.pop(Schedule)
    try:
        assert schedule_ids() == []
    finally:
        admin.site._registry[Schedule] = registered


def test_an_audit_that_nothing_cleans(settings):
    """W034"""
    settings.DJANGO_AUTH_RECOVERY_CODE_AUDIT_ENABLE_AUTO_CLEANUP = True
    assert schedule_ids() == ["W034"]
    RecoveryCodePurgeHistory.objects.create(trigger="command")
    assert schedule_ids() == []


def test_a_schedule_cleans_the_audit_too(schedule, settings):
    settings.DJANGO_AUTH_RECOVERY_CODE_AUDIT_ENABLE_AUTO_CLEANUP = True
    assert schedule_ids() == []
    type(schedule).objects.update(is_enabled=False)
    assert schedule_ids() == ["W034"]


def test_reports_to_nobody(schedule, settings):
    """W014"""
    settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL = ""
    assert schedule_ids() == ["W014"]
    type(schedule).objects.update(sends_report=False)
    assert schedule_ids() == []


def test_broken_settings_are_said_elsewhere(schedule, settings):
    settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL = 5
    assert schedule_ids() == []
    assert "E001" in ids(everything())


def test_before_the_first_migrate_schedules_are_silent(monkeypatch):
    def no_table(self, *args):
        raise DatabaseError("no such table")

    monkeypatch.setattr(QuerySet, "iterator", no_table)
    assert schedule_ids() == []
