"""The journeys of users of another user model. Run by tests/test_models.py, under its settings."""

from __future__ import annotations

import io
import json
import uuid

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core import mail
from django.core.management import call_command

from recovery_backend import flows, imports, statistics
from recovery_backend.codes import PresentedCode
from recovery_backend.imports import Moved, Source
from recovery_backend.models import RecoveryCode, RecoveryCodeAudit, RecoveryCodeBatch, adopt
from tests.conftest import DASHBOARD, LOGIN, WRONG_CODE


@pytest.fixture
def member(db):
    return get_user_model().objects.create_user("Ada", "ada@example.com", "correct horse")


@pytest.fixture
def codes(member):
    return RecoveryCodeBatch.create_recovery_batch(member)[0]


def test_this_is_the_other_user_model(member):
    assert isinstance(member.pk, uuid.UUID)
    assert not any(field.name in {"is_active", "email"} for field in type(member)._meta.fields)


def test_the_project_checks_clean_and_needs_no_migration(db):
    call_command("check")
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_a_code_works_once(member, codes):
    assert authenticate(None, email="ADA@example.com", recovery_code=codes[0]) == member
    assert authenticate(None, email="ada@example.com", recovery_code=codes[0]) is None
    assert authenticate(None, email="ada@example.com", recovery_code=WRONG_CODE) is None


def test_another_members_code_is_refused(member, codes):
    get_user_model().objects.create_user("Eve", "eve@example.com")
    assert authenticate(None, email="eve@example.com", recovery_code=codes[0]) is None
    assert RecoveryCode.objects.usable().count() == 10


def test_the_page_signs_in_and_the_dashboard_names_the_member(member, codes, client):
    response = client.post(LOGIN, {"email": "ada@example.com", "recovery_code": codes[0]})
    assert (response.status_code, response.url) == (302, DASHBOARD)
    page = client.get(DASHBOARD).content.decode()
    assert "ada@example.com" in page
    assert RecoveryCode.objects.usable().of_user(member).count() == 9


def test_the_password_may_be_asked_for_too(member, codes, client, settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "second_factor"
    form = {"email": "ada@example.com", "recovery_code": codes[0]}
    assert client.post(LOGIN, {**form, "password": "wrong"}).status_code == 200
    assert client.post(LOGIN, {**form, "password": "correct horse"}).status_code == 302


def test_staff_policy_does_not_need_the_column(member, codes, settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_SOLE_LOGIN_FOR_STAFF = False
    assert authenticate(None, email="ada@example.com", recovery_code=codes[0]) == member


def test_the_owner_is_told(member, codes, settings, django_capture_on_commit_callbacks):
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
    with django_capture_on_commit_callbacks(execute=True):
        authenticate(None, email="ada@example.com", recovery_code=codes[0])
    assert [message.to for message in mail.outbox] == [["ada@example.com"]]


def test_the_owner_is_told_of_failures(
    member, client, settings, django_capture_on_commit_callbacks
):
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 100
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(10):
            authenticate(None, email="ada@example.com", recovery_code=WRONG_CODE)
    assert [message.to for message in mail.outbox] == [["ada@example.com"]]


def test_the_audit_outlives_the_member(member, codes):
    member.delete()
    assert not RecoveryCodeBatch.objects.exists()
    assert RecoveryCodeAudit.objects.get().user is None


def test_members_are_counted_and_exported(member, codes, tmp_path):
    assert statistics.adoption() == statistics.Adoption(1, 1, 0, 0, 0)
    target = tmp_path / "events.json"
    call_command("recovery_audit", export=str(target), verbosity=0, stdout=io.StringIO())
    assert {event["user_id"] for event in json.loads(target.read_text())} == {str(member.pk)}


def test_codes_of_another_package_move_in_a_page_of_members_at_a_time(db):
    members = [
        get_user_model().objects.create_user(f"Ada {n}", f"{n}@example.com") for n in "abcde"
    ]
    seen = []

    def take(member):
        seen.append(member)
        adopted = adopt(member, [("12345678", False)], replaces=False)
        return Moved(users=1, codes=adopted.number_unused)

    source = Source("elsewhere", lambda: get_user_model().objects.values("pk"), take, take)
    assert imports.run(source, page_size=2) == Moved(seen=5, users=5, codes=5)
    assert seen == sorted(members, key=lambda member: member.pk)
    assert all(flows.use_at_step(None, member, PresentedCode("12345678")) for member in members)
