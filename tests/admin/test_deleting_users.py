"""Users are deleted in the admin together with our rows, which it never deletes by themselves."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeEmailLog,
    RecoveryCodeSetup,
)
from tests.admin.conftest import READ_ONLY, url


class TestDeletingUsers:
    """Django asks for a permission to delete each row that goes with a user: ours all do."""

    PAGE = "/admin/auth/user/"

    def delete(self, browser, user, how):
        if how == "on its page":
            question = browser.get(f"{self.PAGE}{user.pk}/delete/")
            return question, browser.post(f"{self.PAGE}{user.pk}/delete/", {"post": "yes"})
        chosen = {"action": "delete_selected", "_selected_action": [user.pk]}
        question = browser.post(self.PAGE, chosen)
        return question, browser.post(self.PAGE, {**chosen, "post": "yes"})

    @pytest.mark.parametrize("how", ["on its page", "in a list"])
    def test_a_superuser_deletes_a_user_with_all_their_rows(self, how, site, user, admin_client):
        number = RecoveryCodeAudit.objects.count()
        question, answer = self.delete(admin_client, user, how)
        assert (question.status_code, answer.status_code) == (200, 302)
        assert not question.context["perms_lacking"]
        assert not get_user_model().objects.filter(pk=user.pk).exists()
        assert not RecoveryCode.objects.exists() and not RecoveryCodeBatch.objects.exists()
        assert not RecoveryCodeSetup.objects.exists()
        assert not RecoveryCodeEmailLog.objects.exists()
        assert RecoveryCodeAudit.objects.filter(user=None).count() >= number

    @pytest.mark.parametrize("how", ["on its page", "in a list"])
    def test_who_may_look_at_and_delete_users_needs_no_permission_of_ours(
        self, how, site, user, make_staff
    ):
        answers = self.delete(make_staff("delete_user", "view_user"), user, how)
        assert [answer.status_code for answer in answers] == [200, 302]
        assert not get_user_model().objects.filter(pk=user.pk).exists()

    @pytest.mark.parametrize("how", ["on its page", "in a list"])
    def test_who_may_not_delete_users_is_refused(self, how, site, user, make_staff):
        self.delete(make_staff("view_user", "delete_recoverycodebatch"), user, how)
        assert get_user_model().objects.filter(pk=user.pk).exists()
        assert RecoveryCode.objects.exists()

    @pytest.mark.parametrize("model", READ_ONLY)
    def test_our_own_pages_delete_nothing_for_a_superuser(self, model, site, admin_client):
        """R-105"""
        row = model.objects.first()
        assert admin_client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        admin_client.post(url(model), chosen)
        assert model.objects.filter(pk=row.pk).exists()
        assert 'class="deletelink"' not in admin_client.get(url(model, "change", row.pk)).text
