"""Tokens of django-otp at allauth's second step."""

from __future__ import annotations

import pytest
from django_otp.plugins.otp_static.lib import add_static_token

from tests.imports.command import run
from tests.with_allauth.conftest import AUTHENTICATE, add_totp, before_step, methods_of  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def token(user):
    return add_static_token(user.username).token


@pytest.mark.parametrize("is_factor_first", [True, False])
def test_a_printed_token_completes_a_sign_in_once(user, token, before_step, is_factor_first):  # noqa: F811
    """R-21, R-36: whether the site had its users in allauth before or has them afterwards."""
    if is_factor_first:
        add_totp(user)
    out, _err, code = run("django-otp")
    if not is_factor_first:
        add_totp(user)
    assert code == 0 and "Weak: 1." in out and "recovery_backend_allauth" not in out
    browser = before_step(user)
    assert browser.post(AUTHENTICATE, {"code": token}).status_code == 302
    assert ("mfa", "recovery_codes") in methods_of(browser)
    assert before_step(user).post(AUTHENTICATE, {"code": token}).status_code == 200
