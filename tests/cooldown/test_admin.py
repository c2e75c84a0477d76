"""The counters in the admin: who may clear them, and that they name nobody."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission

from recovery_backend import cooldown
from recovery_backend.cooldown import RecoveryCodeCooldown
from tests.cooldown.conftest import ATTACKER, CHANGELIST


class TestAdmin:
    """R-108"""

    def test_clearing_ends_a_wait_at_once(
        self, user, codes, fail, admin_client, client, try_code, clock
    ):
        fail(user.email, 5)
        key = cooldown.account_key(user.email)
        chosen = {"action": "clear", "_selected_action": [key], "post": "yes"}
        admin_client.post(CHANGELIST, chosen)
        assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") == 0
        assert try_code(user.email, codes[0]) == user

    def test_clearing_is_asked_about_first_and_names_nobody(self, user, fail, admin_client):
        fail(user.email, 5)
        chosen = {"action": "clear", "_selected_action": cooldown.account_key(user.email)}
        page = admin_client.post(CHANGELIST, chosen)
        assert "All waits of these accounts end" in page.text
        assert user.email not in page.text and user.username not in page.text
        assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") > 0
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', page.text))
        answer = admin_client.post(CHANGELIST, hidden, follow=True)
        assert "1 account may try again." in answer.text
        assert not RecoveryCodeCooldown.objects.exists()

    def test_clearing_is_a_line_in_the_history_and_one_event_of_each_account(
        self, make_user, fail, admin_client, admin_user, events
    ):
        for owner in (make_user(), make_user()):
            fail(owner.email, 2)
        keys = list(RecoveryCodeCooldown.objects.values_list("key", flat=True))
        chosen = {"action": "clear", "_selected_action": keys, "post": "yes"}
        admin_client.post(CHANGELIST, chosen)
        lines = LogEntry.objects.filter(user=admin_user)
        assert [line.change_message for line in lines] == ["Clear the wait"] * 2
        assert events(actor=admin_user) == [("cooldown.cleared", "")] * 2

    @pytest.mark.parametrize("answer", [{}, {"post": "yes"}])
    def test_an_old_sign_in_clears_nothing(
        self, user, fail, admin_client, settings, clock, answer
    ):
        """R-43"""
        settings.DJANGO_AUTH_RECOVERY_CODES_REAUTH_MAX_AGE = 60
        fail(user.email, 5)
        clock.shift(61)
        chosen = {"action": "clear", "_selected_action": cooldown.account_key(user.email)}
        page = admin_client.post(CHANGELIST, {**chosen, **answer}, follow=True)
        assert "sign out and in again" in page.text
        assert RecoveryCodeCooldown.objects.filter(failures=5).count() == 2

    def test_all_rows_of_a_flood_are_not_cleared_at_a_click(self, db, admin_client):
        keys = [cooldown.account_key(f"user{number}@example.com") for number in range(201)]
        rows = [RecoveryCodeCooldown(key=key, account=key, failures=3) for key in keys]
        RecoveryCodeCooldown.objects.bulk_create(rows)
        chosen = {"action": "clear", "_selected_action": keys[0], "select_across": "1"}
        page = admin_client.post(CHANGELIST, {**chosen, "post": "yes"}, follow=True)
        assert "of at most 200 users. Nothing was changed." in page.text
        assert RecoveryCodeCooldown.objects.count() == 201

    def test_the_list_names_nobody(self, user, fail, admin_client):
        fail(user.email)
        page = admin_client.get(CHANGELIST)
        assert page.status_code == 200
        assert user.email not in page.text and ATTACKER not in page.text

    def test_a_search_for_another_address_finds_nothing(self, user, fail, admin_client):
        fail(user.email)
        for term in ("other@example.com", "owner", "%"):
            assert "_selected_action" not in admin_client.get(CHANGELIST, {"q": term}).text

    def test_staff_without_the_permission_cannot_clear(self, user, fail, make_user, client):
        fail(user.email, 5)
        staff = make_user(is_staff=True)
        staff.user_permissions.add(Permission.objects.get(codename="view_recoverycodecooldown"))
        client.force_login(staff)
        assert "Clear: let the account" not in client.get(CHANGELIST).text
        key = cooldown.account_key(user.email)
        chosen = {"action": "clear", "_selected_action": [key], "post": "yes"}
        client.post(CHANGELIST, chosen)
        assert RecoveryCodeCooldown.objects.filter(key=key, failures=5).exists()

    @pytest.mark.parametrize("path", ["add/", "{key}/delete/"])
    def test_rows_cannot_be_made_or_removed(self, user, fail, admin_client, path):
        fail(user.email)
        url = CHANGELIST + path.format(key=cooldown.account_key(user.email))
        assert admin_client.post(url, {"post": "yes"}).status_code == 403
        assert RecoveryCodeCooldown.objects.count() == 2

    def test_a_row_is_read_only(self, user, fail, admin_client):
        fail(user.email)
        key = cooldown.account_key(user.email)
        url = f"{CHANGELIST}{key}/change/"
        assert admin_client.get(url).status_code == 200
        assert admin_client.post(url, {"failures": 0}).status_code == 403
