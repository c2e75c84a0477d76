"""Who may, and who is told what they lack."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.views.debug import ExceptionReporter
from recovery_backend_api import apps as app
from recovery_backend_api.permissions import MFARequired
from recovery_backend_api.urls import urlpatterns

from recovery_backend import codes as code_room
from tests.owner import rows
from tests.with_api.conftest import HAS_ALLAUTH, ApiClient, told, url
from tests.with_api.test_changes import EACH, GUARDED

pytestmark = pytest.mark.django_db
WITH_ALLAUTH = pytest.mark.skipif(not HAS_ALLAUTH, reason="needs the settings with allauth")
PROTECTED, JUST_PROVEN = "/protected-api/", "/protected-api/just-proven/"


def signed_in(user, *steps):
    """A script in whose session the user has completed these steps."""
    api = ApiClient().sign_in(user)
    session = api.session
    session["account_authentication_methods"] = list(steps)
    session["account_authentication_methods_user"] = str(user.pk)
    session.save()
    return api


def step(method, kind=None, *, ago=1):
    return {"method": method, "at": time.time() - ago, **({"type": kind} if kind else {})}


@pytest.fixture
def factor(user):
    from tests.with_allauth.conftest import add_totp

    add_totp(user)
    return user


@WITH_ALLAUTH
class TestMFARequired:
    def test_a_proven_factor_opens(self, factor):
        api = signed_in(factor, step("password"), step("mfa", "totp"))
        for path in (PROTECTED, JUST_PROVEN):
            assert api.get(path).json() == {"secret": factor.pk}

    def test_an_old_proof(self, factor):
        api = signed_in(factor, step("password"), step("mfa", "totp", ago=301))
        assert api.get(PROTECTED).status_code == 200
        assert told(api.get(JUST_PROVEN)) == (403, "mfa_required")

    def test_a_password_alone(self, factor):
        assert told(signed_in(factor, step("password")).get(PROTECTED)) == (403, "mfa_required")

    def test_without_a_factor_to_prove(self, user):
        answer = signed_in(user, step("password")).get(PROTECTED)
        assert told(answer) == (403, "mfa_enrolment_required")


@pytest.mark.skipif(HAS_ALLAUTH, reason="a site with allauth.headless gives such tokens out")
def test_a_kind_of_token_that_the_site_does_not_give_out_leaves_the_cookie(api):
    api.csrf.update({"X-Session-Token": "x", "Authorization": "Bearer x"})
    assert api.ask("status").status_code == 200


@pytest.mark.skipif(HAS_ALLAUTH, reason="beside allauth a factor can be proven")
def test_where_nothing_can_prove_a_factor_nobody_gets_in(api):
    answer = api.get(PROTECTED)
    assert told(answer) == (403, "mfa_unavailable")
    assert "recovery_backend_allauth" in answer.json()["detail"]


def test_nobody_is_asked_for_a_factor():
    assert Client().get(PROTECTED).status_code in (401, 403)


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_proof_cannot_be_younger_than_nothing(seconds):
    with pytest.raises(ValueError, match="max_age must be positive"):
        MFARequired(max_age=timedelta(seconds=seconds))


@WITH_ALLAUTH
@pytest.mark.parametrize("name", GUARDED)
def test_a_session_without_the_second_factor(factor, codes, name, events):
    """R-43: as on the pages."""
    api = signed_in(factor, step("password"))
    before = rows()
    answer = api.send(name, EACH[name])
    assert told(answer) == (403, "mfa_required")
    assert answer.json()["redirect_to"].startswith("/accounts/2fa/reauthenticate/")
    assert rows() == before and ("reauth.fail", "unproven") in events()


@WITH_ALLAUTH
def test_a_session_by_code_alone_may_repair_its_codes(factor, codes, settings):
    """R-38: the endpoints are open to restricted sessions as the pages are."""
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
    api = ApiClient()
    api.take_csrf_token()
    data = {"email": factor.email, "recovery_code": codes[0]}
    assert api.send("sign-in", data).json()["is_authenticated"] is True
    api.take_csrf_token()
    assert api.ask("status").status_code == 200
    assert api.send("generate", {"replace": True}).status_code == 201
    assert api.get(PROTECTED, headers={"Accept": "application/json"}).status_code == 403


@pytest.mark.parametrize("pattern", urlpatterns, ids=lambda it: it.name)
def test_login_required_middleware_leaves_the_refusal_to_the_endpoint(pattern, settings):
    """R-96"""
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    api = ApiClient()
    answer = api.get(reverse(f"recovery_backend_api:{pattern.name}"))
    assert answer.status_code in (401, 200 if pattern.name == "sign_in" else 401)


@pytest.mark.parametrize("missing", app.REQUIRED)
def test_a_missing_app_is_named(monkeypatch, missing):
    monkeypatch.setattr(app.apps, "is_installed", lambda name: name != missing)
    with pytest.raises(ImproperlyConfigured, match=f'needs "{missing}" in INSTALLED_APPS'):
        app.require_apps()


def test_the_projects_own_settings_of_the_framework_change_nothing(api, settings):
    settings.REST_FRAMEWORK = {
        "EXCEPTION_HANDLER": "tests.no_such_handler",
        "DATETIME_FORMAT": "%d",
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.StaticHTMLRenderer"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    }
    batch = api.generate()["batch"]
    assert "T" in batch["issued_at"] and told(ApiClient().ask("status"))[0] == 401


def test_what_a_reading_costs(api, codes):
    api.ask("status")
    with CaptureQueriesContext(connection) as queries:
        api.ask("status")
    assert len(queries) <= 8


def test_cached_by_the_site_and_yet_private(api, make_user, make_api, codes, settings):
    """R-75"""
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        *settings.MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    assert api.ask("status").json()["left"] == 3
    assert make_api(make_user()).ask("status").json()["left"] == 0


class TestErrorReports:
    """R-84: wherever it breaks, also in the frames of the framework."""

    @pytest.fixture
    def broken(self, user):
        return ApiClient(raise_request_exception=False).sign_in(user)

    @pytest.mark.parametrize(
        ("name", "target"),
        [
            ("verify", "recovery_backend.codes.canonicalise"),
            ("invalidate", "recovery_backend.codes.canonicalise"),
            ("delete", "recovery_backend.models.RecoveryCode.retire"),
            ("sign-in", "recovery_backend.codes.canonicalise"),
        ],
    )
    def test_no_code_that_was_typed(self, broken, user, codes, monkeypatch, name, target):
        data = {"recovery_code": codes[0]} | ({"email": user.email} if name == "sign-in" else {})
        monkeypatch.setattr(target, lambda *args, **kwargs: 1 / 0)
        assert codes[0] not in self.report_of(broken, name, data)

    @pytest.mark.parametrize("shape", [lambda it: it, lambda it: [[it]], lambda it: {it: it}])
    def test_no_code_in_a_strange_shape(self, broken, codes, monkeypatch, shape):
        target = "recovery_backend_api.fields.Inputs.to_internal_value"
        monkeypatch.setattr(target, lambda self, data: 1 / 0)
        for data in ({"recovery_code": shape(codes[0])}, {codes[0]: 1}):
            assert codes[0] not in self.report_of(broken, "verify", data)

    @pytest.mark.parametrize(
        "target",
        [
            "recovery_backend.flows.delivery._claim_view",
            "recovery_backend_api.views.history.card_of",
            "rest_framework.fields.BooleanField.to_representation",
            "rest_framework.renderers.JSONRenderer.render",
        ],
    )
    def test_no_code_that_was_made(self, broken, monkeypatch, target):
        generate, made = code_room.generate, []
        monkeypatch.setattr(code_room, "generate", lambda: made.append(generate()) or made[-1])
        monkeypatch.setattr(target, lambda *args, **kwargs: 1 / 0)
        report = self.report_of(broken, "generate", {})
        assert len(made) == 10 and not any(code in report for code in made)

    @pytest.mark.parametrize("target", ["recovery_backend.exports.render"])
    def test_no_code_in_a_file(self, user, broken, monkeypatch, target):
        fresh = broken.generate()
        monkeypatch.setattr(target, lambda *args, **kwargs: 1 / 0)
        data = {"batch": fresh["batch"]["id"], "delivery_key": fresh["delivery_key"]}
        report = self.report_of(broken, "download", data)
        assert not any(secret in report for secret in [*fresh["codes"], fresh["delivery_key"]])

    def report_of(self, client, name, data):
        answer = client.post(url(name), data, content_type="application/json", headers=client.csrf)
        report = ExceptionReporter(answer.wsgi_request, *answer.exc_info)
        text = report.get_traceback_text() + report.get_traceback_html()
        assert answer.status_code == 500 and "ZeroDivisionError" in text
        return text
