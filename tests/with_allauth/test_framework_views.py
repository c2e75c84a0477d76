"""Views of Django REST framework behind the gates: who is told, who is led, and who has to wait."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.urls import include, path
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.decorators import api_view
from rest_framework.exceptions import Throttled
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from tests.conftest import LOGIN, Browser
from tests.with_allauth.conftest import add_totp, step

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
RESTRICTED = "/auth/recovery-codes/restricted/"
URLS = ("/app/api/", "/app/function/", "/app/things/")
pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


class Api(APIView):
    authentication_classes = [SessionAuthentication]

    def get(self, request):
        return Response({"user": request.user.pk})

    post = get


@api_view(["GET", "POST"])
def function(request):
    return Response({"user": request.user.pk})


class Things(ViewSet):
    def list(self, request):
        return Response({"user": request.user.pk})

    create = list


class Impatient(BaseAuthentication):
    """Refuses the first try for half a minute, and lets in at the second."""

    tries, wait = 0, 29.5

    def authenticate(self, request):
        Impatient.tries += 1
        if Impatient.tries == 1:
            raise Throttled(self.wait)
        return get_user_model().objects.get(), None


class Slow(Api):
    authentication_classes = [Impatient]


urlpatterns = [
    path("app/api/", Api.as_view()),
    path("app/function/", function),
    path("app/things/", Things.as_view({"get": "list", "post": "create"})),
    path("app/slow/", Slow.as_view()),
    path("", include("tests.with_allauth.urls")),
]


@pytest.fixture(autouse=True)
def site(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_PATHS = ["/app"]
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
    Impatient.tries, Impatient.wait = 0, 29.5


@pytest.fixture
def unproven(user, browser_with):
    add_totp(user)
    return browser_with(user, step("password"))


@pytest.fixture
def held(user, codes):
    """A session that began with a code alone, of a user with a factor."""
    add_totp(user)
    browser = Browser()
    assert browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]}).status_code == 302
    return browser


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("accept", [None, "*/*", "image/png", "application/json"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_script_is_told_why_whatever_it_accepts(unproven, url, accept, method):
    headers = {} if accept is None else {"Accept": accept}
    answer = getattr(unproven, method)(url, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_required")
    assert answer.json().keys() == {"code", "detail"} and "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("url", URLS)
def test_a_stranger_is_told_too(client, url):
    answer = client.get(url)
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Session")
    assert answer.json()["code"] == "not_authenticated"
    assert client.get(url, headers={"Accept": BROWSER}).status_code == 302


@pytest.mark.parametrize("url", URLS)
def test_who_opens_the_address_by_hand_is_led(unproven, url):
    """The framework has pages: its browsable API, Swagger."""
    page = {"Accept": BROWSER}
    for answer in (
        unproven.get(url, headers=page),
        unproven.head(url, headers=page),
        unproven.get(url, headers={"Accept": "text/*;q=0.1"}),
    ):
        assert answer.status_code == 302 and "reauthenticate" in answer["Location"]
    # A form of the browsable API is sent by its script, which reads what it is told.
    assert unproven.post(url, headers=page).json()["code"] == "mfa_required"


@pytest.mark.parametrize("url", URLS)
def test_a_restricted_session_is_told_alike(held, url):
    for method in (held.get, held.post, held.put, held.delete):
        answer = method(url)
        assert (answer.status_code, answer.json()["code"]) == (403, "restricted_session")
        assert "recovery_backend_wanted" not in held.session
    assert held.get(url, headers={"Accept": BROWSER})["Location"] == RESTRICTED


def test_a_session_that_moved_is_told_too(settings, user, browser_with):
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "full"
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_BIND_BROWSER = "step_up"
    add_totp(user)
    browser = browser_with(user, step("password"))
    session = browser.session
    session["recovery_backend_bound"] = {
        "user": str(user.pk), "known": {"browser": ["another"]}, "told": {}
    }  # fmt: skip
    session.save()
    assert browser.get("/app/api/").json()["code"] == "session_moved"


@pytest.mark.parametrize("audience", ["everyone", "staff"])
def test_who_has_to_wait_is_told_and_the_view_is_not_asked_again(settings, user, client, audience):
    """What was refused for now, must not come in by the second look at the same request."""
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_FOR = audience
    answer = client.get("/app/slow/", headers={"Accept": BROWSER})
    assert (answer.status_code, answer["Retry-After"]) == (429, "30")
    told = answer.json()
    assert (told["code"], told["wait_seconds"]) == ("cooldown", 30)
    assert "30 seconds" in told["detail"] and "no-store" in answer["Cache-Control"]
    assert Impatient.tries == 1


def test_for_how_long_may_be_unknown(user, client):
    Impatient.wait = None
    answer = client.get("/app/slow/")
    assert answer.status_code == 429 and "Retry-After" not in answer
    assert answer.json().keys() == {"code", "detail"}
