"""What the tests of the cooldown share: networks, failures, and what is kept of them."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db.models.signals import post_delete, post_init
from django.utils import timezone

from recovery_backend import cooldown
from recovery_backend.cooldown import RecoveryCodeCooldown
from tests.conftest import WRONG_CODE

OWNER_NETWORK = "203.0.113.50"
ATTACKER = "198.51.100.7"
CHANGELIST = "/admin/recovery_backend/recoverycodecooldown/"


def networks():
    """As many networks as an attacker likes."""
    return (f"10.{a}.{b}.{c}" for a, b, c in itertools.product(range(256), repeat=3))


def cache_keys():
    store = cache._cache
    return (
        list(store)
        if isinstance(store, dict)
        else [key.decode() for key in store.get_client().keys("*")]
    )


class ForgetfulCache(type(cache._connections["default"])):
    """Has every key already, and can raise none."""

    def add(self, *args, **kwargs):
        return False

    def incr(self, *args, **kwargs):
        raise ValueError


@pytest.fixture
def fail(try_code):
    """Present a wrong code that many times."""

    def fail(email, number=1, address=ATTACKER):
        for _ in range(number):
            assert try_code(email, WRONG_CODE, address) is None

    return fail


@pytest.fixture
def many_networks(user):
    """Failures of one account from that many networks, as a distributed attack leaves them."""

    def many_networks(number, *, is_waiting=False):
        account = cooldown.account_key(user.email)
        until = timezone.now() + timedelta(minutes=1) if is_waiting else None
        pairs = [
            cooldown.pair_key(account, f"{network}/32")
            for network in itertools.islice(networks(), number)
        ]
        rows = [
            RecoveryCodeCooldown(key=key, account=account, failures=1, blocked_until=until)
            for key in pairs
        ]
        rows.append(RecoveryCodeCooldown(key=account, account=account, failures=number))
        RecoveryCodeCooldown.objects.bulk_create(rows, batch_size=500)
        for key in pairs if is_waiting else ():
            cooldown._remember_wait(key, 60)

    return many_networks


@pytest.fixture
def loaded():
    """The counters that were made into objects; with a project that listens to deletions."""
    made = []

    def note(instance, **kwargs):
        made.append(instance)

    post_init.connect(note, RecoveryCodeCooldown)
    post_delete.connect(note, RecoveryCodeCooldown)
    yield made
    post_init.disconnect(note, RecoveryCodeCooldown)
    post_delete.disconnect(note, RecoveryCodeCooldown)


@pytest.fixture
def forgotten(monkeypatch):
    """The keys that were dropped from the cache, call by call."""
    calls = []
    delete_many = cache.delete_many

    def note(keys, **kwargs):
        calls.append(list(keys))
        return delete_many(keys, **kwargs)

    monkeypatch.setattr(cooldown.cache, "delete_many", note)
    return calls
