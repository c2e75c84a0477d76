"""What the tests of the pages share: tries that are refused, and how answers are compared."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from django.utils import timezone

from recovery_backend.codes import PresentedCode
from recovery_backend.models import RecoveryCode
from tests.conftest import JSON, LOGIN, WRONG_CODE

LOGOUT = "/auth/recovery-codes/logout/"
REFUSED = "This did not work."
OURS = "recovery_backend.middleware.RecoveryCodeMiddleware"


def is_signed_in(client):
    return "_auth_user_id" in client.session


def masked(response, *typed):
    """The body without what differs by design: the CSRF token and the echoed address."""
    body = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "csrf", response.text)
    for text in typed:
        body = body.replace(html.escape(text), "typed")
    return body


def headers_of(response):
    """Without what differs by a form's token, or by the second."""
    found = dict(response.headers.items())
    found.pop("Content-Length", None)
    return found | dict.fromkeys(found.keys() & {"Expires"}, "now")


@pytest.fixture
def post_json(client):
    def post(email, code, address="198.51.100.7", **extra):
        data = {"email": email, "recovery_code": code, **extra}
        return client.post(LOGIN, data, REMOTE_ADDR=address, headers=JSON)

    return post


@pytest.fixture
def attempts(user, codes, make_user, make_codes):
    """Address and code, one pair for every reason to refuse them."""
    expired, inactive, other = make_user(), make_user(), make_user()
    expired_codes = make_codes(expired)
    RecoveryCode.objects.of_user(expired).update(expires_at=timezone.now() - timedelta(seconds=1))
    inactive_codes = make_codes(inactive)
    inactive.is_active = False
    inactive.save()
    used = codes[0]
    RecoveryCode.objects.filter(digest__in=PresentedCode(used).digests()).update(status="used")
    old = codes[1]
    new = make_codes(user)
    return {
        "unknown e-mail": ("nobody@example.com", WRONG_CODE),
        "right code, unknown e-mail": ("nobody@example.com", new[0]),
        "wrong": (user.email, WRONG_CODE),
        "malformed": (user.email, "not a code"),
        "used": (user.email, used),
        "superseded": (user.email, old),
        "foreign": (other.email, new[1]),
        "expired": (expired.email, expired_codes[0]),
        "inactive": (inactive.email, inactive_codes[0]),
    }
