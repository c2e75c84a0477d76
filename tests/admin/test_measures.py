"""Revoking and requiring codes from a list of the admin."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry

from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeBatch,
    RecoveryCodeSetup,
)
from tests.admin.conftest import act, told, url


class TestMeasures:
    MAY = {"revoke": "revoke_recoverycodebatch", "require": "require_recoverycodebatch"}

    @pytest.mark.parametrize("name", MAY)
    def test_each_is_asked_about_first(self, name, site, user, make_staff):
        page = act(make_staff("view_recoverycodebatch", self.MAY[name]), name, site)
        assert page.context["rows"] == [(site.pk, "o•••")]
        assert "o•••" in page.text and user.username not in page.text
        assert RecoveryCode.objects.usable().count() == 2
        assert RecoveryCodeSetup.objects.get().new_batch_required_at is None

    @pytest.mark.parametrize("name", MAY)
    def test_each_has_its_own_permission(self, name, site, make_staff, events):
        """R-108"""
        before = events()
        others = {"revoke": "require_recoverycodebatch", "require": "revoke_recoverycodebatch"}
        staff = make_staff("view_recoverycodebatch", others[name], "send_emergency_code")
        assert f'value="{name}"' not in staff.get(url(RecoveryCodeBatch)).text
        act(staff, name, site, post="yes")
        assert events() == before

    def test_permission_without_sight_is_nothing(self, site, make_staff):
        """R-108"""
        staff = make_staff("revoke_recoverycodebatch")
        assert act(staff, "revoke", site, post="yes").status_code == 403

    def test_revoking_ends_the_codes_of_each_user(
        self, site, user, make_user, make_codes, make_staff, events
    ):
        """R-46"""
        other = make_user()
        make_codes(other)
        make_codes(user)
        staff = make_staff("view_recoverycodebatch", "revoke_recoverycodebatch")
        page = act(staff, "revoke", *RecoveryCodeBatch.objects.all(), post="yes")
        assert told(page) == ["Revoke all codes: 2 users."]
        assert not RecoveryCode.objects.usable().exists()
        actor = int(staff.session["_auth_user_id"])
        assert events(actor=actor) == [("code.invalidated", "")] * 2
        assert LogEntry.objects.filter(user=actor).count() == 2

    def test_new_codes_can_be_required(self, site, user, make_staff):
        staff = make_staff("view_recoverycodebatch", "require_recoverycodebatch")
        assert told(act(staff, "require", site, post="yes")) == ["Require new codes: 1 user."]
        assert RecoveryCodeSetup.objects.get(user=user).new_batch_required_at
        assert RecoveryCode.objects.usable().count() == 2

    def test_a_refusal_is_told_and_stops_nobody_else(
        self, site, make_user, make_codes, make_staff, user
    ):
        """R-108"""
        chief = make_user(is_superuser=True, is_staff=True, username="chief")
        make_codes(chief)
        ended = make_user(username="ended")
        make_codes(ended)
        RecoveryCodeBatch.objects.filter(user=ended).update(status="deleted")
        staff = make_staff("view_recoverycodebatch", "revoke_recoverycodebatch")
        page = act(staff, "revoke", *RecoveryCodeBatch.objects.all(), post="yes")
        assert sorted(told(page)) == [
            "Revoke all codes: 1 user.",
            "c•••: This user belongs to the staff. Only superusers may do this here.",
            "e•••: The user has no codes now.",
        ]
        assert RecoveryCode.objects.usable().of_user(chief).count() == 3
        assert not RecoveryCode.objects.usable().of_user(user).exists()

    def test_an_old_sign_in_revokes_nothing(self, site, admin_client, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_REAUTH_MAX_AGE = 60
        clock.shift(61)
        assert "sign out and in again" in told(act(admin_client, "revoke", site, post="yes"))[0]
        assert RecoveryCode.objects.usable().count() == 2

    def test_nobody_confirms_more_people_than_can_be_read(
        self, site, make_user, make_codes, make_staff, monkeypatch
    ):
        monkeypatch.setattr("recovery_backend.admin.measures.MAX_USERS", 1)
        make_codes(make_user())
        staff = make_staff("view_recoverycodebatch", "revoke_recoverycodebatch")
        page = act(staff, "revoke", *RecoveryCodeBatch.objects.all(), post="yes")
        assert told(page) == ["Select fewer rows, of at most 1 users. Nothing was changed."]
        assert RecoveryCode.objects.usable().count() == 5

    def test_more_rows_than_are_read_change_nothing_for_anybody(
        self, site, user, make_codes, admin_client, monkeypatch
    ):
        """Or the users of the rest would be left out without a word."""
        monkeypatch.setattr("recovery_backend.admin.measures.MAX_USERS", 1)
        monkeypatch.setattr("recovery_backend.admin.measures.ROWS_OF_A_USER", 2)
        for _number in range(2):
            make_codes(user)
        page = act(admin_client, "revoke", site, select_across="1", post="yes")
        assert "Select fewer rows" in told(page)[0]
        assert RecoveryCode.objects.usable().count() == 3

    def test_a_foreign_page_cannot_revoke(self, site, admin_user):
        """R-91"""
        from django.test import Client

        browser = Client(enforce_csrf_checks=True)
        browser.force_login(admin_user)
        assert act(browser, "revoke", site, post="yes").status_code == 403
        assert RecoveryCode.objects.usable().count() == 2
