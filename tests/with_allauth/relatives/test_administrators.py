"""What administrators see and do about the factors, and the failed tries, of others."""

from __future__ import annotations

from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.core import mail

from recovery_backend.models import RecoveryCodeAudit
from tests.conftest import WRONG_CODE
from tests.with_allauth.conftest import add_passkey, add_totp
from tests.with_allauth.relatives.conftest import AUTHENTICATE, App

pytestmark = pytest.mark.django_db

FACTORS = "/admin/mfa/authenticator/"
AUDIT = "/admin/recovery_backend/recoverycodeaudit/"


def listed(page):
    return list(page.context["cl"].result_list)


def test_factors_are_listed_by_kind(user, make_user, boss):
    factors = {"totp": add_totp(user), "webauthn": add_passkey(make_user())}
    assert set(listed(boss.get(FACTORS))) == set(factors.values())
    for kind, factor in factors.items():
        page = boss.get(FACTORS, {"type__exact": kind})
        assert listed(page) == [factor] and factor.user.username in page.text


def test_all_of_a_user_go_and_it_is_recorded_and_the_owner_is_told(user, boss, at_once, committed):
    chosen = [add_totp(user).pk, add_passkey(user).pk]
    action = {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}
    with committed():
        answer = boss.post(FACTORS, action)
    assert answer.status_code == 302 and not Authenticator.objects.exists()
    assert App().sign_in(user) == 200
    rows = RecoveryCodeAudit.objects.filter(event="recovery.mfa.factor_removed")
    assert {(row.user, row.actor, row.data["type"]) for row in rows} == {
        (user, answer.wsgi_request.user, "totp"),
        (user, answer.wsgi_request.user, "webauthn"),
    }
    assert LogEntry.objects.filter(user=answer.wsgi_request.user).count() == len(rows) == 2
    assert [message.to for message in mail.outbox] == [[user.email]] * 2
    assert all("The people who run the site" in message.body for message in mail.outbox)


def test_failed_tries_are_listed_by_period(totp_user, boss, clock):
    user, codes = totp_user
    app = App()
    app.sign_in(user)
    app.post(AUTHENTICATE, code=WRONG_CODE)
    app.post(AUTHENTICATE, code=codes[0])
    failed = RecoveryCodeAudit.objects.get(event="recovery.mfa.fallback_fail")
    clock.shift(timedelta(days=3))
    for days, rows in (("1", []), ("7", [failed])):
        page = boss.get(AUDIT, {"outcome__exact": failed.outcome, "period": days})
        assert listed(page) == rows
    assert "unknown" in page.text and WRONG_CODE[:6] not in page.text
