"""API keys in the admin: to look at, without what they are made of, and to revoke."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.core import mail
from django.urls import reverse
from recovery_backend_api.keys.models import ApiKey

from recovery_backend.audit import RecoveryCodeAudit
from tests.with_api.keys_site import ask, make_key

pytestmark = [
    pytest.mark.urls("tests.with_api.keys_site"),
    pytest.mark.django_db,
    pytest.mark.usefixtures("keys_on"),
]
MAY_VIEW, MAY_REVOKE = "view_apikey", "revoke_apikey"
LIST = "admin:recovery_backend_api_keys_apikey_changelist"


@pytest.fixture
def key(user):
    row, text = make_key(user, "Nightly report")
    row.text = text
    return row


@pytest.fixture
def make_staff(make_user, make_browser):
    def make(*codenames):
        staff = make_user(is_staff=True)
        staff.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        return make_browser(staff)

    return make


def page_of(key):
    return reverse("admin:recovery_backend_api_keys_apikey_change", args=[key.pk])


def pages_of(key):
    return [
        reverse(LIST),
        page_of(key),
        reverse("admin:recovery_backend_api_keys_apikey_history", args=[key.pk]),
    ]


def act(browser, *keys, **data):
    chosen = [key.pk for key in keys]
    return browser.post(reverse(LIST), {"action": "revoke", "_selected_action": chosen, **data})


def told(answer):
    return [str(message) for message in get_messages(answer.wsgi_request)]


def test_it_shows_keys_and_no_secret(key, admin_client):
    """R-20, R-105"""
    secrets = {key.text.partition(".")[2], bytes(key.digest).hex(), key.key_id}
    for page in pages_of(key):
        text = admin_client.get(page).text
        assert key.prefix in text
        assert not [secret for secret in secrets if secret in text]


def test_no_secret_is_even_read(key, admin_client, statements):
    """R-20, R-105"""
    with statements() as asked:
        for page in pages_of(key):
            admin_client.get(page)
    read = [
        sql for sql in asked if re.search(r'[.]["`](digest|key_id)["`]', sql.split("WHERE")[0])
    ]
    assert read == []


@pytest.mark.parametrize("lookup", ["digest__startswith", "key_id", "prefix__startswith"])
def test_no_look_up_tells_a_secret(key, admin_client, lookup):
    """R-20"""
    assert admin_client.get(reverse(LIST), {lookup: "a"}).status_code in {302, 400}


def test_nobody_adds_changes_or_deletes_one(key, admin_client):
    """R-105"""
    for name, arguments in [("add", []), ("delete", [key.pk])]:
        page = reverse(f"admin:recovery_backend_api_keys_apikey_{name}", args=arguments)
        assert admin_client.post(page, {"post": "yes"}).status_code == 403
    assert admin_client.post(page_of(key), {"name": "other"}).status_code == 403
    assert ApiKey.objects.get().name == "Nightly report"


@pytest.mark.parametrize("term", ["owner", "owner@example.com", "the prefix"])
def test_it_is_found_by_its_prefix_or_owner(key, make_user, admin_client, term):
    make_key(make_user())
    answer = admin_client.get(reverse(LIST), {"q": key.prefix if term == "the prefix" else term})
    assert list(answer.context["cl"].result_list) == [key]


def test_while_keys_are_off_it_is_hidden(key, admin_client, settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = False
    assert [admin_client.get(page).status_code for page in pages_of(key)] == [403] * 3
    assert act(admin_client, key, post="yes").status_code == 403
    assert "apikey" not in admin_client.get(reverse("admin:index")).text


def test_it_asks_for_permission(key, make_staff):
    """R-108"""
    assert make_staff().get(reverse(LIST)).status_code == 403
    assert make_staff(MAY_REVOKE).get(reverse(LIST)).status_code == 403
    staff = make_staff(MAY_VIEW)
    assert 'name="action"' not in staff.get(reverse(LIST)).text
    act(staff, key, post="yes")
    assert ask(key.text).status_code == 200


def test_it_asks_before_it_revokes(key, make_staff):
    """R-138"""
    question = act(make_staff(MAY_VIEW, MAY_REVOKE), key)
    assert question.status_code == 200
    assert key.prefix in question.text and "stop working at once" in question.text
    assert f"{key.prefix}, o•••" in question.text, "whose it is, for who may not see names"
    assert ask(key.text).status_code == 200


def test_selected_keys_are_revoked_recorded_and_their_owners_told(
    key, user, make_user, make_staff, committed, at_once, events
):
    """R-115"""
    other, text = make_key(make_user())
    another, _text = make_key(user)
    staff = make_staff(MAY_VIEW, MAY_REVOKE)
    mail.outbox.clear()
    with committed():
        answer = act(staff, key, another, post="yes")
    assert told(answer) == ["2 API keys were revoked."]
    assert (ask(key.text).status_code, ask(text).status_code) == (401, 200)
    row = RecoveryCodeAudit.objects.filter(event="recovery.api_key.revoked").first()
    assert (row.user, row.actor, row.data["prefix"] in {key.prefix, another.prefix}) == (
        user,
        answer.wsgi_request.user,
        True,
    )
    assert [message.to for message in mail.outbox] == [["owner@example.com"]] * 2
    assert all("The people who run the site" in message.body for message in mail.outbox)
    assert LogEntry.objects.count() == 2
    assert ApiKey.objects.usable().get() == other


def test_revoked_ones_are_not_revoked_again(key, admin_client, events):
    act(admin_client, key, post="yes")
    assert told(act(admin_client, key, post="yes"))[-1] == "These keys were revoked before."
    assert events().count(("api_key.revoked", "")) == 1


def test_keys_of_staff_are_left_to_superusers(make_user, make_staff, admin_client, events):
    """R-108"""
    key, text = make_key(make_user(is_staff=True))
    answer = act(make_staff(MAY_VIEW, MAY_REVOKE), key, post="yes")
    assert "Only superusers" in told(answer)[0]
    assert ask(text).status_code == 200
    assert ("authz.denied", "policy") in events()
    act(admin_client, key, post="yes")
    assert ask(text).status_code == 401


def test_it_is_in_the_admin_once():
    assert admin.site.is_registered(ApiKey)
