"""Access and refresh tokens."""

from __future__ import annotations

import pytest
from allauth.headless.contrib.rest_framework.authentication import JWTTokenAuthentication
from django.test import Client
from django.urls import path
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response

from recovery_backend.models import RecoveryCode
from tests.conftest import WRONG_CODE
from tests.with_allauth import urls
from tests.with_allauth.conftest import add_totp, totp_now
from tests.with_allauth.relatives.conftest import AUTHENTICATE, App


@api_view(["GET"])
@authentication_classes([JWTTokenAuthentication])
@permission_classes([IsAuthenticated])
def members(request):
    return Response()


urlpatterns = [path("members/", members), *urls.urlpatterns]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("jwt")]


def test_the_answer_to_a_password_has_both(app, user):
    assert app.sign_in(user) == 200 and app.meta["refresh_token"]
    assert app.headers == {"Authorization": f"Bearer {app.meta['access_token']}"}
    assert app.ask("GET", "account/authenticators")[0] == 200


def test_there_is_none_before_the_second_factor(app, user):
    add_totp(user)
    assert app.sign_in(user) == 401 and "access_token" not in app.meta
    assert app.post(AUTHENTICATE, code=totp_now()) == 200
    assert app.meta["refresh_token"] and app.opens()


def test_a_code_is_a_second_factor_too(app, totp_user):
    user, codes = totp_user
    app.sign_in(user)
    assert app.post(AUTHENTICATE, code=WRONG_CODE) == 400 and "access_token" not in app.meta
    assert app.post(AUTHENTICATE, code=codes[0]) == 200 and app.opens()
    assert RecoveryCode.objects.filter(status="used").count() == 1


def test_it_is_renewed_once_by_each_refresh_token(app, user, clock):
    add_totp(user)
    app.sign_in(user)
    app.post(AUTHENTICATE, code=totp_now())
    first = app.meta["refresh_token"]
    clock.shift(301)
    assert not app.opens()
    status, body = App().ask("POST", "tokens/refresh", refresh_token=first)
    app.headers = {"Authorization": f"Bearer {body['data']['access_token']}"}
    assert status == 200 and app.opens()
    assert App().post("tokens/refresh", refresh_token=first) == 400
    assert App().post("tokens/refresh", refresh_token=body["data"]["refresh_token"]) == 200


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("is_stateful", [True, False])
def test_other_views_take_it_a_while_longer_unless_a_setting_says_no(
    app, user, settings, is_stateful
):
    settings.HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED = is_stateful
    app.sign_in(user)
    headers = dict(app.headers)
    assert Client().get("/members/", headers=headers).status_code == 200
    app.ask("DELETE", "auth/session")
    answer = Client().get("/members/", headers=headers)
    assert answer.status_code == (401 if is_stateful else 200)


def test_it_ends_with_the_session(app, user):
    add_totp(user)
    app.sign_in(user)
    app.post(AUTHENTICATE, code=totp_now())
    refresh_token = app.meta["refresh_token"]
    headers = dict(app.headers)
    assert app.ask("DELETE", "auth/session")[0] == 401
    app.headers = headers
    assert App().post("tokens/refresh", refresh_token=refresh_token) == 400
    assert not app.opens()
