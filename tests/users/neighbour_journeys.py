"""Sign-ins beside allauth and axes. Run by tests/test_backends.py, under its settings."""

from __future__ import annotations

import itertools

import pytest
from allauth.account.models import EmailAddress
from axes.models import AccessAttempt, AccessFailureLog
from django.contrib.auth import authenticate
from django.core import serializers
from django.core.management import call_command

from recovery_backend.codes import PresentedCode
from recovery_backend.models import RecoveryCode
from tests.conftest import LOGIN, WRONG_CODE

OURS = "recovery_backend.backends.RecoveryCodeBackend"
MODEL = "django.contrib.auth.backends.ModelBackend"
ALLAUTH = "allauth.account.auth_backends.AuthenticationBackend"
AXES = "axes.backends.AxesStandaloneBackend"
ORDERS = [list(order) for order in itertools.permutations([OURS, MODEL, ALLAUTH])]
ORDERS += [[AXES, *order] for order in ORDERS[:]] + [[OURS, AXES, MODEL, ALLAUTH]]


@pytest.fixture(params=ORDERS, ids=lambda order: "-".join(path.split(".")[0] for path in order))
def order(request, settings):
    settings.AUTHENTICATION_BACKENDS = request.param
    return request.param


@pytest.fixture
def member(user):
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
    return user


def test_codes_sign_in_once_in_any_order(member, codes, order, try_code):
    signed_in = try_code(member.email, codes[0])
    assert signed_in == member and signed_in.backend == OURS
    assert try_code(member.email, codes[0]) is None
    assert try_code(member.email, WRONG_CODE) is None
    assert RecoveryCode.objects.usable().count() == 2


def test_the_page_signs_in_in_any_order(member, codes, order, client):
    response = client.post(LOGIN, {"email": member.email, "recovery_code": codes[0]})
    assert response.status_code == 302
    assert client.session["_auth_user_id"] == str(member.pk)
    assert client.session["_auth_user_backend"] == OURS


def test_passwords_work_and_never_touch_our_tables(member, codes, order, make_request, statements):
    with statements() as queries:
        user = authenticate(make_request(), username="owner", password="correct horse")
    assert user == member and user.backend != OURS
    assert not any("recovery_backend_" in sql for sql in queries)


def test_an_address_and_a_password_are_allauths(member, order, make_request):
    user = authenticate(make_request(), email=member.email, password="correct horse")
    assert user == member and user.backend == ALLAUTH


def test_neighbours_keep_nothing_of_a_code(member, codes, settings, make_request):
    """R-28"""
    settings.AUTHENTICATION_BACKENDS = [AXES, MODEL, ALLAUTH, OURS]
    request = make_request()
    code = WRONG_CODE.replace("A", "B")
    assert authenticate(request, email=member.email, recovery_code=PresentedCode(code)) is None
    assert AccessAttempt.objects.count() == 1
    stored = serializers.serialize(
        "json", [*AccessAttempt.objects.all(), *AccessFailureLog.objects.all()]
    )
    assert "BBBBBB" not in stored


def test_the_project_checks_without_an_error(db, settings):
    settings.AUTHENTICATION_BACKENDS = [AXES, MODEL, ALLAUTH, OURS]
    call_command("check")
