"""Every table of the admin: its pages, who may see and change it, and what nobody sees."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from recovery_backend import audit
from recovery_backend.audit import Event, Reason
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodePurgeHistory,
)
from tests.admin.conftest import READ_ONLY, TABLES, act, rows, url, view


@pytest.mark.parametrize("model", TABLES)
class TestEveryTable:
    def test_its_pages_answer(self, model, site, admin_client):
        row = model.objects.first()
        for page in (url(model), url(model, "change", row.pk), url(model, "history", row.pk)):
            assert admin_client.get(page).status_code == 200

    def test_who_may_look_sees_rows_and_no_secret(self, model, secrets, make_staff):
        """R-20, R-105"""
        staff = make_staff(view(model))
        row = model.objects.first()
        page = staff.get(url(model))
        assert len(rows(page)) == model.objects.count()
        for text in (page.text, staff.get(url(model, "change", row.pk)).text):
            assert not [secret for secret in secrets if secret in text]
            assert 'name="action"' not in text
            assert "/add/" not in text

    def test_a_superuser_sees_no_secret_either(self, model, secrets, admin_client):
        """R-20, R-105"""
        row = model.objects.first()
        for page in (url(model), url(model, "change", row.pk), url(model, "history", row.pk)):
            text = admin_client.get(page).text
            assert not [secret for secret in secrets if secret in text]

    def test_others_are_refused(self, model, site, make_staff):
        """R-108"""
        staff = make_staff(*(view(other) for other in TABLES if other is not model))
        row = model.objects.first()
        assert staff.get(url(model)).status_code == 403
        assert staff.get(url(model, "change", row.pk)).status_code == 403

    def test_who_may_only_look_changes_nothing(self, model, site, make_staff):
        """R-108"""
        staff = make_staff(view(model))
        row = model.objects.first()
        pages = (url(model, "add"), url(model, "change", row.pk), url(model, "delete", row.pk))
        assert [staff.post(page, {"post": "yes"}).status_code for page in pages] == [403] * 3
        action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        staff.post(url(model), action)
        assert model.objects.filter(pk=row.pk).exists()

    @pytest.mark.parametrize(
        "lookup",
        [
            "digest__startswith",
            "key_id",
            "sealed__contains",
            "row_digests__contains",
            "user__password__startswith",
            "lease_token__isnull",
            "id__gt",
        ],
    )
    def test_fields_cannot_be_guessed_by_filters(self, model, lookup, site, admin_client):
        """R-105"""
        assert admin_client.get(url(model), {lookup: "a"}).status_code == 400

    @pytest.mark.parametrize("order", ["99", "-1.2.3.4.5.6.7", "x", "-"])
    def test_only_what_has_an_index_sorts(self, model, order, site, admin_client):
        """R-104"""
        page = admin_client.get(url(model), {"o": order})
        fields = [str(field).lstrip("-") for field in page.context["cl"].queryset.query.order_by]
        allowed = set(page.context["cl"].model_admin.sortable_by)
        assert set(fields) <= allowed | {"pk", "id", "key"}

    def test_a_page_costs_few_queries(self, model, site, admin_client, statements):
        with statements() as queries:
            admin_client.get(url(model))
        assert len(queries) <= 10

    def test_strange_parameters_break_nothing(self, model, site, admin_client):
        """R-104"""
        hostile = ["\0", "'", "💥", "-1", "9" * 30, "9" * 5000, "NaN", "2026-13-45", "<script>"]
        hostile += ["9999-12-31", "0001-01-01", "x" * 100_000]
        names = ["user", "batch", "period", "status__exact", "event__exact", "q", "p", "o", "all"]
        for name in names:
            for value in hostile:
                answer = admin_client.get(url(model), {name: value})
                assert answer.status_code in {200, 302, 400}, (name, value)
                assert '<script>"' not in answer.text


@pytest.mark.parametrize("model", READ_ONLY)
def test_a_superuser_cannot_make_change_or_delete_rows(model, site, admin_client):
    """R-105, R-117"""
    row = model.objects.first()
    pages = (url(model, "add"), url(model, "change", row.pk), url(model, "delete", row.pk))
    assert [admin_client.post(page, {"post": "yes"}).status_code for page in pages] == [403] * 3


@pytest.mark.parametrize("model", TABLES)
def test_no_secret_is_even_read(model, site, admin_client, statements):
    """R-20, R-105"""
    page = url(model, "change", model.objects.first().pk)
    with statements() as queries:
        admin_client.get(url(model))
        admin_client.get(page)
    for name in ("digest", "bind", "key_id", "sealed", "row_digests"):
        read = [sql for sql in queries if re.search(rf'[.]["`]{name}["`]', sql.split("WHERE")[0])]
        assert read == []


def test_what_people_send_is_text(user, admin_client, make_request):
    """R-99"""
    hostile = "<script>alert(1)</script>"
    user.username = hostile
    user.save()
    entry = audit.entry(Event.LOGIN_FAIL, reason=Reason.UNKNOWN, user=user, data={"x": hostile})
    entry.user_agent = entry.path = entry.request_id = hostile
    audit.record(entry)
    RecoveryCodeBatch.create_recovery_batch(user)
    RecoveryCodeCleanUpScheduler.objects.create(name=hostile)
    RecoveryCodePurgeHistory.objects.create(policy_name=hostile)
    for model in (
        RecoveryCodeAudit,
        RecoveryCodeBatch,
        RecoveryCode,
        RecoveryCodeCleanUpScheduler,
        RecoveryCodePurgeHistory,
    ):
        row = model.objects.last()
        for page in (url(model), f"{url(model)}?user={user.pk}", url(model, "change", row.pk)):
            text = admin_client.get(page, follow=True).text
            assert hostile not in text
    question = act(admin_client, "revoke", RecoveryCodeBatch.objects.get())
    assert hostile not in question.text and "&lt;script&gt;alert(1)" in question.text


def test_the_index_of_the_admin_names_every_table(admin_client):
    page = admin_client.get(reverse("admin:index")).text
    assert not [model for model in TABLES if f'href="{url(model)}"' not in page]


@pytest.mark.parametrize("model", TABLES)
def test_a_row_that_is_gone_leads_back_to_the_index(model, admin_client):
    answer = admin_client.get(url(model, "change", "404"))
    assert (answer.status_code, answer.url) == (302, reverse("admin:index"))


def test_an_event_of_nobody_leads_nowhere(try_code, admin_client):
    assert try_code("nobody@example.com", "no code") is None
    row = RecoveryCodeAudit.objects.get()
    page = admin_client.get(url(RecoveryCodeAudit, "change", row.pk))
    assert page.context["links"] == []
    assert "See also" not in page.text
