"""The admin behind a second factor: every page of it, for every kind of session."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path, reverse
from recovery_backend_allauth import marker
from recovery_backend_allauth.admin_site import ClosedForm, MFARequiredAdminSite, require_mfa

from recovery_backend.models import RecoveryCodeBatch
from tests.conftest import JSON, PASSWORD, Browser
from tests.with_allauth import urls
from tests.with_allauth.conftest import (
    AUTHENTICATE,
    INDEX,
    REAUTHENTICATE,
    SIGN_IN,
    add_passkey,
    add_totp,
    next_of,
    target,
    totp_now,
)

# Time stands still, or a code of six digits could change while a request runs.
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls(__name__),
    pytest.mark.usefixtures("clock"),
]

WANTED = "/admin/recovery_backend/recoverycodebatch/?q=x"


class Site(AdminSite):
    """An admin of a site's own, with a view of its own and a rule of its own."""

    site_header = "Ours"

    def get_urls(self):
        return [path("report/", self.admin_view(self.report), name="report"), *super().get_urls()]

    def report(self, request):
        return HttpResponse("secret")

    def has_permission(self, request):
        return super().has_permission(request) and request.user.username != "banned"


def registered(site):
    """The site with the models and pages of the admin that the whole suite shares."""
    for model, model_admin in admin.site._registry.items():
        site.register(model, type(model_admin))
    return site


late = registered(AdminSite(name="late"))
late_urls = late.urls
require_mfa(late)
strict = registered(Site(name="strict"))
site = registered(Site())
urlpatterns = [
    path("admin/", require_mfa(site).urls),
    path("strict/", require_mfa(strict, max_age=timedelta(hours=1)).urls),
    path("late/", late_urls),
    *[pattern for pattern in urls.urlpatterns if getattr(pattern, "app_name", "") != "admin"],
]


@pytest.fixture
def make_user(make_user):
    """Everybody is staff where nothing else is said."""
    return partial(make_user, is_staff=True, is_superuser=True)


def pages(patterns=None, prefix="/admin/"):
    """A path for each URL of the admin."""
    for pattern in site.get_urls() if patterns is None else patterns:
        if hasattr(pattern, "url_patterns"):
            yield from pages(pattern.url_patterns, f"{prefix}{pattern.pattern}")
        else:
            yield prefix + as_path(pattern.pattern)


def as_path(pattern):
    route = str(pattern)
    if "app_label" in route:
        return "recovery_backend/"
    if route.startswith("(?P<url>"):
        return "nowhere"
    for converter in pattern.converters:
        for kind in ("path", "int", "str", "slug", "uuid", ""):
            route = route.replace(f"<{kind}:{converter}>" if kind else f"<{converter}>", "1")
    assert "<" not in route, route
    return route


ALL = [url for url in pages() if url not in ("/admin/login/", "/admin/logout/")]


# Every page


def test_the_crawl_finds_what_the_admin_has():
    assert len(ALL) > 60
    for url in ("/admin/", "/admin/report/", "/admin/autocomplete/", "/admin/jsi18n/"):
        assert url in ALL
    assert reverse("admin:recovery_backend_recoverycodedesk_changelist") in ALL
    assert "/admin/password_change/" in ALL


@pytest.mark.parametrize("method", ["get", "post"])
def test_no_page_opens_without_the_second_factor(
    client, by_password, unproven, by_code, totp_user, method
):
    sessions = [(client, SIGN_IN), (by_password(), INDEX), (unproven, REAUTHENTICATE)]
    for browser, place in sessions:
        for url in ALL:
            assert target(getattr(browser, method)(url)) == place, url
    user, codes = totp_user
    browser = by_code(user, codes[0])
    for url in ALL:
        assert getattr(browser, method)(url).status_code == 302, url


def test_programs_are_told_why_on_every_page(client, by_password, unproven):
    for browser, status, code in (
        (client, 401, "not_authenticated"),
        (by_password(), 403, "mfa_enrolment_required"),
        (unproven, 403, "mfa_required"),
    ):
        for url in ALL:
            answer = browser.post(url, headers=JSON)
            assert (answer.status_code, answer.json()["code"]) == (status, code), url


def test_who_is_no_staff_is_refused_even_when_proven(proven, by_password):
    get_user_model().objects.update(is_staff=False, is_superuser=False)
    for url in [*ALL, "/admin/login/"]:
        assert proven.get(url).status_code == 403, url
    assert by_password(username="banned").get("/admin/").status_code == 403


def test_a_proven_session_opens_the_pages(proven):
    for url in ("/admin/", "/admin/report/", "/admin/jsi18n/", "/admin/password_change/",
                "/admin/recovery_backend/", "/admin/recovery_backend/recoverycodedesk/",
                "/admin/recovery_backend/recoverycodebatch/"):  # fmt: skip
        assert proven.get(url).status_code == 200, url
    assert "Ours" in proven.get("/admin/").content.decode()
    assert proven.get("/admin/nowhere").status_code == 404


def test_a_post_without_the_factor_does_nothing(unproven):
    form = {"username": "intruder", "password1": PASSWORD, "password2": PASSWORD}
    unproven.post("/admin/auth/user/add/", form)
    assert not get_user_model().objects.filter(username="intruder").exists()
    change = {
        "old_password": PASSWORD,
        "new_password1": "Other-9876x",
        "new_password2": "Other-9876x",
    }
    unproven.post("/admin/password_change/", change)
    unproven.user.refresh_from_db()
    assert unproven.user.check_password(PASSWORD)


# The way in


def test_the_sign_in_leads_back_to_the_page_that_was_wanted(client, make_user):
    user = make_user()
    add_totp(user)
    answer = client.get(WANTED)
    assert target(answer) == SIGN_IN and next_of(answer) == WANTED
    answer = client.post(answer["Location"], {"login": user.username, "password": PASSWORD})
    assert target(answer) == AUTHENTICATE
    answer = client.post(answer["Location"], {"code": totp_now()})
    assert answer["Location"] == WANTED
    assert client.get(WANTED, follow=True).status_code == 200


def test_an_older_session_proves_itself_and_comes_back(unproven):
    answer = unproven.get(WANTED)
    assert target(answer) == REAUTHENTICATE and next_of(answer) == WANTED
    answer = unproven.post(answer["Location"], {"code": totp_now()})
    assert answer["Location"] == WANTED
    assert unproven.get("/admin/").status_code == 200


def test_a_recovery_code_after_the_password_is_a_second_factor(by_password, make_codes):
    browser = by_password()
    add_passkey(browser.user)
    codes = make_codes(browser.user)
    marker.sync(browser.user)
    answer = browser.get(WANTED)
    answer = browser.post(answer["Location"], {"code": codes[0]})
    assert answer["Location"] == WANTED
    assert browser.get("/admin/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_the_first_time_leads_over_factor_and_codes_back_to_the_page(client, make_user):
    user = make_user()
    answer = client.get(WANTED)
    answer = client.post(answer["Location"], {"login": user.username, "password": PASSWORD})
    answer = client.get(answer["Location"])
    assert answer["Location"] == INDEX
    answer = client.get("/accounts/2fa/totp/activate/", follow=True)
    if answer.request["PATH_INFO"] == "/accounts/reauthenticate/":
        url = f"/accounts/reauthenticate/?{answer.request['QUERY_STRING']}"
        answer = client.post(url, {"password": PASSWORD}, follow=True)
    secret = answer.context["form"].secret
    answer = client.post("/accounts/2fa/totp/activate/", {"code": totp_now(secret)})
    answer = client.get(answer["Location"], follow=True)
    assert answer.request["PATH_INFO"] == "/auth/recovery-codes/offer/"
    client.post("/auth/recovery-codes/generate/", {"confirm": "on"})
    codes = list(client.get("/auth/recovery-codes/dashboard/").context["plaintext"].codes)
    answer = client.get("/auth/recovery-codes/offer/")
    assert answer["Location"] == WANTED
    answer = client.get(WANTED)
    assert target(answer) == REAUTHENTICATE and next_of(answer) == WANTED
    answer = client.post(answer["Location"], {"code": codes[0]})
    assert answer["Location"] == WANTED
    assert client.get("/admin/").status_code == 200


def test_staff_who_came_by_address_and_code_never_get_in_by_codes(totp_user, by_code):
    """R-37."""
    user, codes = totp_user
    browser = by_code(user, codes[0])
    assert browser.get("/admin/").status_code == 302
    browser.post(f"{REAUTHENTICATE}?next=/admin/", {"code": codes[1]})
    assert browser.get("/admin/").status_code == 302
    browser.post(f"{REAUTHENTICATE}?next=/admin/", {"code": totp_now()})
    assert browser.get("/admin/").status_code == 200


@pytest.mark.parametrize("has_middleware", [True, False])
def test_a_restricted_session_never_opens_it(settings, totp_user, by_code, has_middleware):
    """R-38: nor with password and code together, which elsewhere is a second factor."""
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
    if not has_middleware:
        settings.MIDDLEWARE = settings.MIDDLEWARE[:-1]
    user, codes = totp_user
    browser = by_code(user, codes[0])
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    browser.post(REAUTHENTICATE, {"code": codes[1]})
    assert [step["method"] for step in browser.session["account_authentication_methods"]] == [
        "mfa", "password", "mfa"
    ]  # fmt: skip
    for url in ("/admin/", "/admin/report/", "/admin/login/"):
        answer = browser.get(url)
        assert target(answer) == reverse("recovery_restricted"), url
    assert not site.has_permission(answer.wsgi_request)
    answer = browser.get("/admin/", headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (403, "restricted_session")


# The admin's own sign-in


def test_the_admins_own_form_signs_nobody_in(client, make_user):
    user = make_user()
    for prefix in ("/admin/login/", "/strict/login/", "/late/login/"):
        data = {"username": user.username, "password": PASSWORD, "next": "/admin/"}
        client.post(prefix, data)
        client.post(f"{prefix}?next=/admin/", data)
        assert "_auth_user_id" not in client.session
    assert target(client.get("/admin/login/?next=/admin/auth/user/")) == SIGN_IN


def test_urls_that_were_made_too_early_are_covered_too(client, by_password, unproven, proven):
    assert target(client.get("/late/")) == SIGN_IN
    assert target(by_password().get("/late/")) == INDEX
    assert target(unproven.get("/late/")) == REAUTHENTICATE
    # A dead end, with a form that refuses everybody: this view was bound before.
    assert target(unproven.get("/late/recovery_backend/recoverycodedesk/")) == "/late/login/"
    assert proven.get("/late/").status_code == 200


def test_the_sign_in_url_of_the_admin_leads_on(proven, unproven):
    assert proven.get("/admin/login/")["Location"] == "/admin/"
    assert proven.get(f"/admin/login/?next={WANTED}")["Location"] == WANTED
    assert proven.get("/admin/login/?next=https://evil.example/")["Location"] == "/admin/"
    assert target(unproven.get("/admin/login/")) == REAUTHENTICATE


def test_a_site_whose_login_url_is_the_admin_has_no_loop(client, settings):
    settings.LOGIN_URL = "admin:login"
    answer = client.get("/admin/", follow=True)
    assert answer.status_code == 200
    assert answer.request["PATH_INFO"] == SIGN_IN


@pytest.mark.parametrize("prefix", ["/admin/", "/late/"])
def test_anybody_can_sign_out(by_password, proven, prefix):
    for browser in (by_password(), proven):
        assert browser.post(f"{prefix}logout/").status_code == 200
        assert "_auth_user_id" not in browser.session


def test_signing_out_asks_for_the_token_of_the_form(proven):
    strict_browser = Browser(enforce_csrf_checks=True)
    strict_browser.cookies = proven.cookies
    assert strict_browser.post("/admin/logout/").status_code == 403
    assert "_auth_user_id" in proven.session


# How old the proof may be


def test_the_proof_may_have_to_be_recent(unproven, clock):
    unproven.post(f"{REAUTHENTICATE}?next=/", {"code": totp_now()})
    assert unproven.get("/strict/").status_code == 200
    clock.shift(3601)
    assert unproven.get("/admin/").status_code == 200
    for url in ("/strict/", "/strict/report/", "/strict/login/"):
        assert target(unproven.get(url)) == REAUTHENTICATE
    unproven.post(f"{REAUTHENTICATE}?next=/strict/", {"code": totp_now()})
    assert unproven.get("/strict/").status_code == 200


# The line in urls.py


def test_it_is_idempotent_and_keeps_the_sites_class():
    own = Site(name="own")
    assert require_mfa(own) is own
    kind = type(own)
    assert require_mfa(own, max_age=timedelta(minutes=5)) is own
    assert type(own) is kind and kind.__name__ == "Site" and kind.__module__ == __name__
    assert isinstance(own, Site) and isinstance(own, MFARequiredAdminSite)
    assert own.mfa_max_age == timedelta(minutes=5)
    require_mfa(own)
    assert own.mfa_max_age == timedelta(minutes=5)
    assert own.login_form is ClosedForm


def test_djangos_own_site_is_the_default(monkeypatch):
    lazy = type(admin.site)()
    monkeypatch.setattr(admin, "site", lazy)
    assert require_mfa() is lazy
    assert isinstance(lazy, MFARequiredAdminSite)
    assert lazy.name == "admin"


def test_permission_is_denied_where_there_is_no_session(make_user):
    request = RequestFactory().get("/admin/")
    request.user = make_user()
    assert not site.has_permission(request)


def test_permission_follows_the_session_not_the_user(proven, make_user):
    request = proven.get("/admin/").wsgi_request
    assert site.has_permission(request)
    request.user = make_user()
    assert not site.has_permission(request)
    with pytest.raises(PermissionDenied):
        request.user.is_staff = False
        site._refusal(request)


def test_nothing_of_the_admin_changes_the_codes_of_others(unproven, make_user, make_codes):
    other = make_user(is_staff=False, is_superuser=False)
    make_codes(other)
    url = reverse("admin:recovery_backend_recoverycodedesk_changelist")
    unproven.post(f"{url}invalidate/?user={other.pk}", {"confirm": "on"})
    assert RecoveryCodeBatch.objects.get(user=other).status == "active"


def test_no_query_is_added_to_a_proven_session(proven, django_assert_num_queries):
    """R-150."""
    with django_assert_num_queries(2):
        assert proven.get("/admin/jsi18n/").status_code == 200
