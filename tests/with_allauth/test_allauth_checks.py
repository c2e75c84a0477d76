"""R-145: what `manage.py check` says of the integration, by id."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import allauth
import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection
from recovery_backend_allauth import checks, step
from recovery_backend_allauth.apps import require_apps
from recovery_backend_allauth.checks import installation, second_step

PREFIX = "DJANGO_AUTH_RECOVERY_CODES_"
CACHES = "django.core.cache.backends."


@pytest.fixture(autouse=True)
def shared_cache(settings):
    local = settings.CACHES
    settings.CACHES = cache("redis.RedisCache")
    yield
    settings.CACHES = local


@pytest.fixture(autouse=True)
def immediate(monkeypatch):
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "transaction_mode", "IMMEDIATE")


def cache(name):
    return {"default": {"BACKEND": CACHES + name, "LOCATION": "redis://localhost"}}


def said():
    messages = [message for check in checks.CHECKS for message in check(None)]
    assert all(message.hint for message in messages)
    return [message.id.removeprefix("recovery_backend_allauth.") for message in messages]


def test_a_site_in_order_hears_nothing():
    assert said() == []


@pytest.mark.parametrize("name", ["wrap", "record_usage"])
def test_a_step_that_is_not_ours_is_an_error(monkeypatch, name):
    monkeypatch.setattr(Authenticator, name, lambda self: None)
    assert said() == ["E001"]
    step.install()
    assert said() == []


@pytest.mark.parametrize(
    "answer", [lambda self, code: True, lambda self, code: code == "00000000", lambda self: False]
)
def test_an_allauth_that_does_not_refuse_markers_is_an_error(monkeypatch, answer):
    monkeypatch.setattr(RecoveryCodes, "validate_code", answer)
    assert said() == ["E002"]


def test_an_allauth_that_reads_codes_out_of_markers_is_an_error(monkeypatch):
    monkeypatch.setattr(RecoveryCodes, "generate_codes", lambda self: ["12345678"])
    assert said() == ["E002"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((65, 19, 2), ["E003"]),
        ((64, 2, 1), ["E003"]),
        ((65, 19, 3), []),
        ((65, 20, 0), []),
        ((65, 21, 99), []),
        ((65, 22, 0), ["W004"]),
        ((66, 0, 0), ["W004"]),
    ],
)
def test_the_version_of_allauth_is_checked(monkeypatch, version, expected):
    monkeypatch.setattr(allauth, "VERSION", (*version, "final", 0))
    assert said() == expected


def test_the_installed_allauth_is_in_the_tested_range():
    """So that the range moves with what the suite runs with."""
    assert allauth.VERSION[:3] >= second_step.OLDEST_ALLAUTH
    assert allauth.VERSION[:2] <= second_step.NEWEST_ALLAUTH


@pytest.mark.parametrize(
    "first", ["allauth", "allauth.account", "allauth.mfa", "recovery_backend"]
)
def test_templates_that_are_found_too_late_are_told(monkeypatch, first):
    configs = sorted(apps.get_app_configs(), key=lambda config: config.name != first)
    monkeypatch.setattr(apps, "get_app_configs", lambda: configs)
    assert said() == ["W005"]
    (message,) = installation.check_order(None)
    assert f"The templates of {first} are found" in message.msg


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("dummy.DummyCache", ["E006"]),
        ("locmem.LocMemCache", ["W007"]),
        ("redis.RedisCache", []),
        ("memcached.PyMemcacheCache", []),
    ],
)
def test_a_cache_that_cannot_count_is_told(settings, backend, expected):
    """R-60"""
    settings.CACHES = cache(backend)
    assert said() == expected
    settings.DEBUG = True
    assert said() == []


def test_two_lists_of_codes_are_told(settings):
    settings.MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
    assert said() == ["W008"]
    settings.DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES = True
    assert said() == []


def test_an_adoption_of_codes_that_nobody_makes_is_told(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES = True
    assert said() == ["W014"]
    settings.MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
    assert said() == []


def test_pages_that_nobody_can_be_led_to_are_told(settings):
    """R-38: a restricted session without its page could repair nothing."""
    settings.ROOT_URLCONF = "tests.with_allauth.urls_without_offer"
    assert said() == ["W015"]
    settings.HEADLESS_ONLY = True
    assert said() == []
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
    assert said() == ["E016"]


def test_urls_that_cannot_be_read_are_left_to_django(settings):
    settings.ROOT_URLCONF = "no.such.module"
    assert said() == []


NEEDS_MIDDLEWARE = [
    ("MFA_REQUIRED_PATHS", ["/staff/"]),
    ("RECOVERY_SESSION", "restricted"),
    ("MFA_BIND_BROWSER", "warn"),
    ("MFA_BIND_NETWORK", "end"),
]


@pytest.mark.parametrize(("name", "value"), NEEDS_MIDDLEWARE)
def test_what_no_middleware_holds_is_an_error(settings, name, value):
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if "MFARequired" not in path]
    assert said() == []
    setattr(settings, PREFIX + name, value)
    assert said() == ["E009"]
    (message,) = installation.check_middleware(None)
    assert message.msg.startswith(f"{name}: set")


@pytest.mark.parametrize("path", installation.BEFORE_MIDDLEWARE)
def test_a_middleware_that_comes_too_early_is_an_error(settings, path):
    settings.MIDDLEWARE = [*(one for one in settings.MIDDLEWARE if one != path), path]
    assert said() == ["E010"]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, []),
        ({"login": "1/m/ip"}, []),
        ({"login_failed": "3/m/key"}, []),
        ({"login_failed": "10/m/ip, 5/300s/key"}, []),
        ({"login_failed": "10/m/ip"}, ["W011"]),
        ({"login_failed": None}, ["W011"]),
        ({"login_failed": ""}, ["W011"]),
        (False, ["W011"]),
    ],
)
def test_a_step_without_a_limit_is_told(settings, limits, expected):
    """R-50"""
    settings.ACCOUNT_RATE_LIMITS = limits
    assert said() == expected


@pytest.mark.parametrize(
    ("ours", "theirs", "header", "expected"),
    [(0, 0, None, []), (1, 1, None, []), (1, 0, None, ["W012"]), (0, 2, None, ["W012"])]
    + [(1, 0, "X-Real-IP", [])],
)
def test_two_ideas_of_the_proxies_are_told(settings, ours, theirs, header, expected):
    """R-54"""
    settings.DJANGO_AUTH_RECOVERY_CODES_TRUSTED_PROXY_COUNT = ours
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = theirs
    settings.ALLAUTH_TRUSTED_CLIENT_IP_HEADER = header
    assert said() == expected


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the check is about SQLite")
@pytest.mark.parametrize(
    ("mode", "expected"),
    [("IMMEDIATE", []), ("exclusive", []), ("DEFERRED", ["W013"]), (None, ["W013"])],
)
def test_an_sqlite_on_which_sign_ins_collide_is_told(monkeypatch, settings, mode, expected):
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "transaction_mode", mode)
    assert said() == expected
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if "usersessions" not in app]
    assert said() == []


@pytest.mark.parametrize(
    "name",
    ["ADOPT_ALLAUTH_CODES", "TRUSTED_PROXY_COUNT", *(name for name, _ in NEEDS_MIDDLEWARE)],
)
def test_a_wrong_setting_crashes_no_check(settings, name):
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if "MFARequired" not in path]
    setattr(settings, PREFIX + name, object())
    assert said() == []


@pytest.mark.django_db
def test_they_are_what_manage_py_check_runs(settings):
    settings.MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
    settings.MIDDLEWARE = list(reversed(settings.MIDDLEWARE))
    with pytest.raises(SystemCheckError, match=r"recovery_backend_allauth\.E010") as caught:
        call_command("check")
    assert "recovery_backend_allauth.W008" in str(caught.value)


@pytest.mark.parametrize("name", ["recovery_backend", "allauth.account", "allauth.mfa"])
def test_a_missing_app_is_named(settings, name):
    settings.INSTALLED_APPS = [
        app
        for app in settings.INSTALLED_APPS
        if app != name and not app.startswith(("recovery_backend_", "tests"))
    ]
    with pytest.raises(ImproperlyConfigured, match=f'needs "{name}" in INSTALLED_APPS'):
        require_apps()


def test_a_site_without_allauth_does_not_start_and_says_why():
    start = (
        "from django.conf import settings; import django\n"
        "settings.configure(INSTALLED_APPS=['django.contrib.contenttypes', 'django.contrib.auth', "
        "'recovery_backend_allauth', 'recovery_backend'])\n"
        "django.setup()"
    )
    done = subprocess.run(
        [sys.executable, "-c", start],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "ImproperlyConfigured" in last and '"allauth.account", "allauth.mfa"' in last
