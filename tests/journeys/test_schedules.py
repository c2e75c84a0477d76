"""An administrator has ended codes removed: Chromium, a web server, a worker, nothing else."""

from __future__ import annotations

import re

import pytest

from tests.processes import PATIENCE_SECONDS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

SET_THE_SCENE = """
from datetime import timedelta
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth.models import User
from django.utils import timezone
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
root = User.objects.create_superuser("root", "root@example.com", "correct horse")
TOTP.activate(root, generate_totp_secret())
user = User.objects.get(username="user0")
for _ in range(2):
    RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=7)
RecoveryCode.objects.filter(status="invalidated").update(
    retired_at=timezone.now() - timedelta(days=31)
)
"""


@pytest.fixture
def admin(mail_server, new_site, chromium):
    """The admin's index, opened by its superuser, on a site with a worker."""
    # The mail server first: it cannot be started inside the event loop of Playwright.
    new_site.manage("shell", "-c", SET_THE_SCENE)
    new_site.start("wsgi", "worker")
    context = chromium.new_context(base_url=f"http://localhost:{new_site.port('wsgi')}")
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    page = context.new_page()
    page.goto("/admin/")
    page.fill("[name=login]", "root")
    page.fill("[name=password]", "correct horse")
    page.press("[name=password]", "Enter")
    page.fill("[name=code]", new_site.manage("demo_totp", "root").strip())
    page.press("[name=code]", "Enter")
    page.wait_for_url("**/admin/")
    yield page
    context.close()


def test_a_schedule_is_made_run_by_a_worker_and_its_result_is_seen(admin):
    """R-109: what ended long enough ago goes, and what can be used stays."""
    admin.click("tr.model-recoverycodecleanupscheduler a.addlink")
    admin.fill("[name=name]", "Every night")
    admin.check("[name=delete_empty_batch]")
    admin.click("[name=_save]")
    admin.check("tr:has-text('Every night') [name=_selected_action]")
    admin.select_option("[name=action]", "run_now")
    admin.click("button[name=index]")
    admin.get_by_text("1 run was asked for.").wait_for()

    while not (result := admin.locator(".field-last_result")).inner_text().startswith("7 codes"):
        admin.reload()
    assert "1 batch" in result.inner_text()
    assert admin.locator(".field-state").inner_text() == "fine"

    admin.goto("/admin/recovery_backend/recoverycodepurgehistory/")
    row = admin.locator("#result_list tbody tr")
    assert row.count() == 1
    assert re.search(r"Every night.*7 codes removed", row.inner_text(), re.DOTALL)
    admin.goto("/admin/recovery_backend/recoverycode/")
    assert admin.locator("#result_list tbody tr").count() == 7
