"""R-85: what a project that renders our form by itself shows of a code."""

from __future__ import annotations

import pytest

from recovery_backend.codes import PresentedCode
from recovery_backend.forms import RecoveryLoginForm
from tests.conftest import WRONG_CODE


@pytest.fixture
def bound(user, make_request):
    """The form with a wrong code in it, after it was refused."""
    form = RecoveryLoginForm(make_request(), {"email": user.email, "recovery_code": WRONG_CODE})
    assert not form.is_valid()
    return form


@pytest.mark.parametrize(
    "show", [str, lambda form: str(form["recovery_code"]), lambda form: form.as_p(), repr]
)
def test_no_rendering_shows_the_code_or_its_stand_in(bound, show):
    """R-85, R-132"""
    text = show(bound)
    assert "AAAAAA" not in text and "PresentedCode" not in text
    assert "recovery_code" in text


def test_the_rendering_keeps_the_address_and_says_what_is_wrong(bound, user):
    text = bound.as_p()
    assert f'value="{user.email}"' in text
    assert "This did not work." in text
    assert 'autocomplete="one-time-code"' in text and 'autocapitalize="none"' in text


def test_the_form_holds_digests_only(bound):
    """R-28"""
    assert isinstance(bound.cleaned_data["recovery_code"], PresentedCode)
    assert isinstance(bound["recovery_code"].value(), PresentedCode)
    assert "AAAAAA" not in repr(bound.errors.get_json_data())
    assert "AAAAAA" not in repr(bound.cleaned_data)


def test_nobody_is_the_user_of_a_refused_form(bound):
    assert bound.get_user() is None
    assert bound.wait_seconds == 0


@pytest.mark.parametrize(
    ("mode", "has_password"), [("sole_login", False), ("second_factor", True)]
)
def test_the_password_is_asked_for_where_the_site_wants_it(
    db, make_request, settings, mode, has_password
):
    """R-35"""
    settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = mode
    assert ("password" in RecoveryLoginForm(make_request()).fields) is has_password
