"""Support and a user who has lost the list, each in a browser of their own."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.test import Client

from recovery_backend import cooldown
from tests.conftest import DASHBOARD, LOGIN
from tests.test_desk import ALL, CODE, DESK, page_of, remedy

pytestmark = pytest.mark.browser

OWNER = "owner@example.com"


@pytest.fixture(autouse=True)
def mailed_at_once(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False


@pytest.fixture
def desk(make_user):
    """The browser of support, who may look at users too."""
    staff = make_user(username="support", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=[*ALL, "view_user"]))
    client = Client()
    client.force_login(staff)
    return client


@pytest.mark.parametrize("has_javascript", [True, False], ids=["script", "no script"])
def test_support_gets_a_user_back_in(open_page, site, desk, user, codes, has_javascript):
    """R-46, R-106: and the user has a list of their own at the end."""
    page = open_page(DESK, client=desk, has_javascript=has_javascript, width=320)
    page.get_by_label("User name or whole e-mail address").fill(OWNER)
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Send an emergency code").click()
    assert page.get_by_text("You do not see it.").is_visible()
    page.get_by_role("button", name="Send an emergency code").click()
    page.get_by_text("An emergency code was made.").wait_for()
    [code] = CODE.findall(mail.outbox[-1].body)
    assert code not in page.content()

    own = open_page(LOGIN, has_javascript=has_javascript, width=320)
    own.get_by_label("E-mail address").fill(OWNER)
    own.get_by_label("Recovery code").fill(code)
    own.get_by_role("button", name="Sign in").click()
    own.wait_for_url(re.compile(re.escape(DASHBOARD)))
    assert own.get_by_text("Please generate new codes.").is_visible()
    own.get_by_role("button", name="Replace my codes").click()
    own.get_by_role("button", name="Yes, replace them").click()
    own.get_by_text("Save them now").wait_for()
    assert own.locator(".codes li").count() == 10
    assert own.get_by_text("Please generate new codes.").count() == 0


def test_a_user_can_be_chosen_from_a_list(open_page, desk, user):
    page = open_page(DESK, client=desk)
    page.locator(".select2-selection").click()
    page.locator(".select2-search__field").fill("own")
    page.get_by_role("option", name="owner").click()
    page.get_by_role("button", name="Open").click()
    page.get_by_role("heading", name="owner").wait_for()


def find(desk, user, **_):
    return DESK


def several(desk, user, make_user, **_):
    make_user(username=OWNER, email="a-rather-long-address-of-somebody@sub.example.com")
    make_user(email=OWNER.title(), is_active=False)
    return f"{DESK}?q={OWNER}"


def nobody(**_):
    return f"{DESK}?q=nobody"


def missing(**_):
    return f"{DESK}?user=0"


def look(user, make_codes, **_):
    make_codes(user, days_to_expire=30)
    for _try in range(6):
        cooldown.charge(OWNER, "198.51.100.7/32")
    return page_of(user)


def look_at_staff(make_user, **_):
    return page_of(make_user(is_staff=True))


def ask(user, codes, **_):
    return remedy("emergency", user)


def ask_to_clear(user, **_):
    return remedy("clear", user)


@pytest.mark.parametrize(
    "look_at", [find, several, nobody, missing, look, look_at_staff, ask, ask_to_clear]
)
def test_every_page_fits_and_is_accessible(
    open_page, inspect, desk, user, make_user, make_codes, request, look_at
):
    """R-134, R-135, R-136, R-139"""
    needs_codes = look_at is ask
    codes = make_codes(user) if needs_codes else []
    path = look_at(desk=desk, user=user, make_user=make_user, make_codes=make_codes, codes=codes)
    inspect(open_page(path, client=desk), f"desk-{look_at.__name__}", "#content")


@pytest.mark.parametrize("is_emergency", [False, True], ids=["asked", "emergency"])
def test_the_dashboard_that_asks_for_codes_is_accessible(
    open_page, inspect, browser, desk, user, codes, is_emergency
):
    desk.post(remedy("emergency" if is_emergency else "require", user))
    page = open_page(DASHBOARD, client=browser)
    assert page.get_by_text("Please generate new codes.").is_visible()
    inspect(page, f"dashboard-required-{is_emergency}")
