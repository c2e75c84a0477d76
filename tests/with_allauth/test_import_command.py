"""`import_recovery_codes --from allauth`: the same as `adopt_allauth_recovery_codes`."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes

from tests.imports.command import counts, counts_of, ours, run
from tests.with_allauth.conftest import AUTHENTICATE, add_totp
from tests.with_allauth.test_adoption import left_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner(make_user):
    """A user with TOTP and allauth's own codes, of which one is used."""
    user = make_user()
    add_totp(user)
    stock = RecoveryCodes.activate(user)
    user.codes = stock.generate_codes()
    assert stock.validate_code(user.codes[0])
    return user


def data_of(user):
    return Authenticator.objects.get(user=user, type="recovery_codes").data


def test_printed_codes_go_on_working_once_each(owner, before_step):
    """R-10, R-21"""
    seed = data_of(owner)["seed"]
    out, _err, code = run("allauth")
    assert code == 0
    assert out.splitlines()[0] == "Moved in: 1 user, 9 usable codes, 1 ended code."
    assert out.splitlines()[1] == ("Weak: 9. They are short, so they work at a second step only.")
    assert left_of(seed, *owner.codes) == set()
    statuses = []
    for number in (1, 1, 0):
        browser = before_step(owner)
        statuses.append(browser.post(AUTHENTICATE, {"code": owner.codes[number]}).status_code)
    assert statuses == [302, 200, 200]


def test_a_dry_run_counts_the_same_and_changes_nothing(owner):
    before = data_of(owner)
    expected = {"seen": 1, "users": 1, "codes": 9, "weak": 9, "ended": 1}
    assert counts("allauth", dry_run=True) == counts_of(**expected, is_dry_run=True)
    assert data_of(owner) == before and ours() == [[], [], []]
    assert counts("allauth") == counts_of(**expected)


def test_a_second_run_changes_nothing(owner):
    run("allauth")
    before = ours(), data_of(owner)
    assert counts("allauth") == counts_of(seen=1)
    assert counts("allauth", dry_run=True) == counts_of(seen=1, is_dry_run=True)
    assert (ours(), data_of(owner)) == before


def test_a_list_that_cannot_be_read_is_left_and_named_by_its_owner_only(owner, caplog):
    row = Authenticator.objects.filter(user=owner, type="recovery_codes")
    row.update(data={"used_mask": 0})
    out, _err, code = run("allauth")
    assert code == 1 and "cannot be read: 1" in out
    assert f"user={owner.pk}: KeyError" in caplog.text
    assert row.get().data == {"used_mask": 0} and ours() == [[], [], []]
