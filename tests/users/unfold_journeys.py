"""Our admin dressed by django-unfold. Run by tests/test_unfold.py, under its settings."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from unfold.admin import ModelAdmin

from recovery_backend.models import RecoveryCodeDesk, RecoveryCodeOverview
from tests.admin.conftest import url

OURS = [model for model in admin.site._registry if model._meta.app_label == "recovery_backend"]


def test_every_page_is_dressed():
    assert len(OURS) == 13
    assert all(isinstance(admin.site._registry[model], ModelAdmin) for model in OURS)


@pytest.mark.parametrize("model", [RecoveryCodeDesk, RecoveryCodeOverview])
def test_the_desk_and_the_overview_answer(
    model, user, codes, make_user, make_browser, admin_client
):
    staff = make_user(is_staff=True)
    permission = Permission.objects.get(codename=f"view_{model._meta.model_name}")
    staff.user_permissions.add(permission)
    for browser in (admin_client, make_browser(staff)):
        for page in (url(model), f"{url(model)}?user={user.pk}"):
            answer = browser.get(page)
            assert answer.status_code == 200
            assert "unfold" in answer.text
