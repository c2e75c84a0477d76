"""What the tests of the admin's tables share: a site with a row in each, and who looks at it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeAuditScheduler,
    RecoveryCodeAuditSeal,
    RecoveryCodeBatch,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeCooldown,
    RecoveryCodeEmailLog,
    RecoveryCodePurgeHistory,
    RecoveryCodeReminderScheduler,
    RecoveryCodeSetup,
)

SCHEDULERS = [
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeAuditScheduler,
    RecoveryCodeReminderScheduler,
]
READ_ONLY = [
    RecoveryCodeBatch,
    RecoveryCode,
    RecoveryCodeSetup,
    RecoveryCodeAudit,
    RecoveryCodeAuditSeal,
    RecoveryCodePurgeHistory,
    RecoveryCodeEmailLog,
    RecoveryCodeCooldown,
]
TABLES = [*READ_ONLY, *SCHEDULERS]


def url(model, name="changelist", *arguments):
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{name}", args=arguments)


def view(model):
    return f"view_{model._meta.model_name}"


def cell(response, name):
    """What a list of one row says in a column."""
    found = re.search(rf"field-{name}\b[^>]*>(.*?)</td>", response.text, re.DOTALL)[1]
    return re.sub(r"<[^>]+>", "", found).strip()


def rows(response):
    """The rows of a list."""
    return list(response.context["cl"].result_list)


def act(browser, name, *batches, **data):
    """Choose an action for some batches, as the list does."""
    chosen = {"action": name, "_selected_action": [batch.pk for batch in batches]}
    return browser.post(url(RecoveryCodeBatch), {**chosen, **data}, follow=True)


def told(response):
    return [str(message) for message in response.context["messages"]]


def seal_of(number):
    return RecoveryCodeAuditSeal(
        number=number,
        first_row=number,
        last_row=number,
        row_digests="ROWDIGESTS",
        digest="d" * 64,
        key_id="k1d-k1d-k1d",
    )


@pytest.fixture
def site(user, codes, try_code):
    """Something in every table."""
    now = timezone.now()
    assert try_code(user.email, codes[0])
    batch = RecoveryCodeBatch.objects.get()
    RecoveryCodeBatch.objects.update(sealed="CIPHERTEXT")
    RecoveryCodeSetup.objects.create(user=user, verified_at=now)
    RecoveryCodeEmailLog.objects.create(
        user=user, batch=batch.public_id, recipient=user.email, state="sent"
    )
    seal_of(1).save()
    run = RecoveryCodePurgeHistory.objects.create(
        policy_name="nightly", finished_at=now + timedelta(seconds=2), codes_removed=3
    )
    for number, model in enumerate(SCHEDULERS):
        model.objects.create(name=f"schedule {number}", last_run=run)
    return batch


@pytest.fixture
def secrets(site):
    """Everything of the tables that no page may say."""
    found = {"CIPHERTEXT", "ROWDIGESTS", "d" * 64, "k1d-k1d-k1d"}
    for code in RecoveryCode.objects.all():
        found |= {code.digest.hex, str(code.digest), bytes(code.bind).hex(), code.key_id}
    return found


@pytest.fixture
def make_staff(make_user, make_browser):
    """A browser of somebody who may enter the admin, and has these permissions."""

    def make(*codenames):
        staff = make_user(is_staff=True)
        permissions = Permission.objects.filter(codename__in=codenames)
        assert len(permissions) == len(codenames)
        staff.user_permissions.set(permissions)
        return make_browser(staff)

    return make
