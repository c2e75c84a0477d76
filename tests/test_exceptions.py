"""Refusals are states that carry data."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from recovery_backend.exceptions import (
    AlreadyDelivered,
    CooldownActive,
    NoActiveBatch,
    NoAddress,
    PlaintextGone,
    RecoveryCodeError,
)


def test_a_cooldown_says_how_long():
    error = CooldownActive(42)
    assert error.wait_seconds == 42
    assert "42 seconds" in str(error)


def test_a_second_delivery_says_what_the_first_was():
    error = AlreadyDelivered("download")
    assert error.how == "download"
    assert "download" in str(error)


@pytest.mark.parametrize(
    "kind", [CooldownActive, AlreadyDelivered, NoActiveBatch, NoAddress, PlaintextGone]
)
def test_all_refusals_have_one_base_that_is_no_misconfiguration(kind):
    assert issubclass(kind, RecoveryCodeError)
    assert not issubclass(kind, ImproperlyConfigured)
