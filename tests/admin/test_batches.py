"""Batches in the admin: what became of their codes, and where their links lead."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.urls import reverse
from django.utils import timezone

from recovery_backend.models import RecoveryCode, RecoveryCodeAudit, RecoveryCodeBatch
from tests.admin.conftest import cell, url


class TestBatches:
    def test_the_page_says_what_became_of_the_codes(self, site, admin_client):
        RecoveryCodeBatch.objects.update(number_issued=9, purged_used=4, purged_deleted=2)
        card = admin_client.get(url(RecoveryCodeBatch, "change", site.pk)).context["original"].card
        assert (card.number_issued, card.number_left, card.number_used) == (9, 2, 5)
        assert card.number_removed == 2

    def test_the_list_counts_what_can_be_used(self, site, admin_client):
        def left():
            return cell(admin_client.get(url(RecoveryCodeBatch)), "left")

        active = RecoveryCode.objects.filter(status="active")
        assert left() == "2 of 3"
        RecoveryCode.objects.filter(pk=active[0].pk).update(expires_at=timezone.now())
        assert left() == "1 of 3"
        active[1].retire(RecoveryCode.Status.INVALIDATED)
        assert left() == "0 of 3"

    def test_links_lead_where_the_administrator_may_go(self, site, user, make_staff):
        page = make_staff("view_recoverycodebatch", "view_recoverycodeaudit").get(
            url(RecoveryCodeBatch, "change", site.pk)
        )
        targets = [link.url for link in page.context["links"]]
        assert targets == [
            f"{url(RecoveryCodeBatch)}?user={user.pk}",
            f"{url(RecoveryCodeAudit)}?user={user.pk}",
        ]
        page = make_staff("view_recoverycodebatch", "view_user").get(
            url(RecoveryCodeBatch, "change", site.pk)
        )
        assert reverse("admin:auth_user_change", args=[user.pk]) in page.text

    def test_a_site_without_users_in_its_admin_has_all_the_rest(
        self, site, admin_client, monkeypatch
    ):
        monkeypatch.delitem(admin.site._registry, get_user_model())
        assert "admin-autocomplete" not in admin_client.get(url(RecoveryCodeBatch)).text
        page = admin_client.get(url(RecoveryCodeBatch, "change", site.pk))
        assert "Account" not in [link.text for link in page.context["links"]]
        assert f"{url(RecoveryCodeAudit)}?user={site.user_id}" in page.text
