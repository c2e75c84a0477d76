"""What `manage.py check` says of API keys: nothing, while they are off."""

from __future__ import annotations

import runpy

import pytest
from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from recovery_backend_api.keys import models
from recovery_backend_api.keys.models import ApiKey

from recovery_backend.keys import generate_key
from tests.with_api.keys_site import make_key

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("keys_on")]


def all_ids(**options):
    return [it.id for it in checks.run_checks(databases=["default"], **options)]


def ids(**options):
    return [it for it in all_ids(**options) if it.startswith("recovery_backend_api_keys.")]


def test_a_sound_site_hears_nothing(user):
    make_key(user)
    assert ids(include_deployment_checks=True) == []


def test_keys_without_their_app_are_refused(monkeypatch):
    """Django would take their table for one of the app around it, and never make it."""
    monkeypatch.setattr(apps, "is_installed", lambda name: name == "recovery_backend_api")
    with pytest.raises(ImproperlyConfigured, match='"recovery_backend_api.keys" is not in'):
        runpy.run_path(models.__file__)


def test_the_setting_without_the_app_is_named(monkeypatch, settings):
    assert "recovery_backend.W015" not in all_ids()
    is_installed = apps.is_installed
    monkeypatch.setattr(apps, "is_installed", lambda it: "api.keys" not in it and is_installed(it))
    assert "recovery_backend.W015" in all_ids()
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = False
    assert "recovery_backend.W015" not in all_ids()


@pytest.mark.parametrize("scheme", ["Bearer", "token", "Basic"])
def test_a_scheme_of_others_is_named(settings, scheme):
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_SCHEME = scheme
    assert ids() == ["recovery_backend_api_keys.W001"]


def test_keys_that_never_expire_are_named_before_deployment(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_ALLOW_NO_EXPIRY = True
    assert ids() == []
    assert ids(include_deployment_checks=True) == ["recovery_backend_api_keys.W002"]


def test_keys_whose_key_is_gone_are_counted(user, settings):
    make_key(user)
    settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
    assert ids() == ["recovery_backend_api_keys.W003"]


def test_keys_that_outlast_the_settings_are_counted(user, settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_ALLOW_NO_EXPIRY = True
    make_key(user, days_to_expire=None)
    make_key(user, days_to_expire=365)
    assert ids() == []
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_MAX_DAYS = 364
    assert ids() == ["recovery_backend_api_keys.W004"]
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_MAX_DAYS = 365
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_ALLOW_NO_EXPIRY = False
    assert ids() == ["recovery_backend_api_keys.W004"]


@pytest.mark.parametrize(
    "off",
    [
        {"CODES_API_KEYS_ENABLED": False},
        {"CODES_API_KEYS_ENABLED": "yes"},
        {"CODES_API_KEY_SCHEME": "two words"},
        {"CODES_API_KEY_MAX_DAYS": 0},
        {"CODES_API_KEY_ALLOW_NO_EXPIRY": "yes"},
        {"KEY": "short"},
    ],
    ids=str,
)
def test_off_or_not_to_be_read_they_say_nothing(user, settings, off):
    """What is wrong with a setting, E001 to E003 of the core say."""
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_ALLOW_NO_EXPIRY = True
    make_key(user, days_to_expire=None)
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEY_SCHEME = "Bearer"
    for name, value in off.items():
        setattr(settings, f"DJANGO_AUTH_RECOVERY_{name}", value)
    assert ids(include_deployment_checks=True) == []


@pytest.mark.django_db(transaction=True)
def test_before_the_first_migrate_nothing_is_counted():
    with connection.schema_editor() as editor:
        editor.delete_model(ApiKey)
    try:
        assert ids() == []
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(ApiKey)


def test_without_the_core_the_site_does_not_start(monkeypatch):
    config = apps.get_app_config("recovery_backend_api_keys")
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "recovery_backend")
    with pytest.raises(ImproperlyConfigured, match='needs "recovery_backend"'):
        config.ready()
