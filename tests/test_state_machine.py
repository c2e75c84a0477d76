"""A model of which codes may be spent, and the database, agree after any sequence of steps."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
import time_machine
from django.contrib.auth import authenticate, get_user_model
from django.db import transaction
from django.test import RequestFactory
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from recovery_backend.codes import PresentedCode
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.conftest import WRONG_CODE

OWNERS = ["ada@example.com", "ben@example.com"]


@dataclass
class Known:
    """What the model knows of one code."""

    owner: str
    expires_at: datetime | None
    is_live: bool = True

    def may_be_spent(self, now):
        return self.is_live and (self.expires_at is None or now < self.expires_at)


class Codes(RuleBasedStateMachine):
    issued = Bundle("issued")

    def __init__(self):
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()
        self.travel = time_machine.travel(timezone.now(), tick=False)
        self.clock = self.travel.start()
        self.users = {
            email: get_user_model().objects.create_user(email, email) for email in OWNERS
        }
        self.known = {}
        # Each try comes from a network of its own, so that no wait gets into the way.
        self.networks = (f"10.{a}.{b}.1" for a, b in itertools.product(range(256), repeat=2))

    def teardown(self):
        self.travel.stop()
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    def attempt(self, email, code):
        request = RequestFactory(REMOTE_ADDR=next(self.networks)).post("/")
        return authenticate(request, email=email, recovery_code=PresentedCode(code))

    @rule(
        target=issued,
        owner=st.sampled_from(OWNERS),
        days=st.sampled_from([None, 1, 2, 30]),
        number=st.integers(1, 3),
    )
    def issue(self, owner, days, number):
        plain_codes, batch = RecoveryCodeBatch.create_recovery_batch(
            self.users[owner], days_to_expire=days, number_of_codes=number
        )
        for known in self.known.values():
            if known.owner == owner:
                known.is_live = False
        end = None if days is None else timezone.now() + timedelta(days=days)
        assert batch.expires_at == end
        self.known |= {code: Known(owner, end) for code in plain_codes}
        return plain_codes

    @rule(plain_codes=issued, position=st.integers(0, 2))
    def use(self, plain_codes, position):
        code = plain_codes[position % len(plain_codes)]
        known = self.known[code]
        expected = self.users[known.owner] if known.may_be_spent(timezone.now()) else None
        assert self.attempt(known.owner, code) == expected
        if expected:
            known.is_live = False

    @rule(plain_codes=issued)
    def use_as_somebody_else(self, plain_codes):
        [other] = set(OWNERS) - {self.known[plain_codes[0]].owner}
        assert self.attempt(other, plain_codes[0]) is None

    @rule(owner=st.sampled_from(OWNERS))
    def guess(self, owner):
        assert self.attempt(owner, WRONG_CODE) is None

    @rule(plain_codes=issued, status=st.sampled_from(["invalidated", "deleted"]))
    def retire(self, plain_codes, status):
        code = plain_codes[0]
        changed = RecoveryCode.objects.filter(
            digest__in=PresentedCode(code).digests(), status="active"
        ).update(status=status, retired_at=timezone.now())
        assert changed == self.known[code].is_live
        self.known[code].is_live = False

    @rule(hours=st.sampled_from([1, 12, 24, 25, 24 * 31]))
    def wait(self, hours):
        self.clock.shift(timedelta(hours=hours))

    @rule()
    def wait_until_something_expires(self):
        ends = [known.expires_at for known in self.known.values() if known.expires_at]
        if coming := [end for end in ends if end > timezone.now()]:
            self.clock.move_to(min(coming))

    @invariant()
    def the_database_agrees(self):
        now = timezone.now()
        expected = {
            digest
            for code, known in self.known.items()
            if known.may_be_spent(now)
            for digest in PresentedCode(code).digests()
        }
        assert set(RecoveryCode.objects.usable().values_list("digest", flat=True)) == expected

    @invariant()
    def every_user_has_one_active_batch_at_most(self):
        for user in self.users.values():
            assert RecoveryCodeBatch.objects.filter(user=user, status="active").count() <= 1

    @invariant()
    def what_is_not_active_says_since_when(self):
        rows = RecoveryCode.objects.values_list("status", "retired_at")
        assert all((status == "active") == (moment is None) for status, moment in rows)


@pytest.mark.django_db
def test_model_and_database_agree():
    """R-21, R-22, R-44"""
    run_state_machine_as_test(
        Codes,
        settings=settings(
            max_examples=40,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
