"""What is tried again, and what is given up."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, OperationalError, ProgrammingError, transaction

from recovery_backend import signals, transactions
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models import RecoveryCode
from recovery_backend.transactions import in_transaction


@pytest.fixture(autouse=True)
def two_pauses(monkeypatch):
    monkeypatch.setattr(transactions, "PAUSES_SECONDS", (0, 0))


@pytest.fixture
def work():
    """Work that writes a row, and fails at its first tries with the errors given."""

    class Work:
        def __init__(self, *errors):
            self.errors = list(errors)
            self.calls = 0

        def __call__(self):
            self.calls += 1
            RecoveryCodeCooldown.objects.create(key=f"try {self.calls}", account="a")
            if self.errors:
                raise self.errors.pop(0)
            return "done"

    return Work


@pytest.mark.django_db(transaction=True)
class TestOutside:
    @pytest.mark.parametrize("error", [OperationalError, IntegrityError])
    def test_a_locked_database_and_a_lost_race_are_tried_again(self, work, error):
        trying = work(error(), error())
        assert in_transaction(trying) == "done"
        assert trying.calls == 3
        assert RecoveryCodeCooldown.objects.get().key == "try 3"

    @pytest.mark.parametrize("error", [OperationalError, IntegrityError])
    def test_what_fails_to_the_end_is_raised_and_leaves_nothing(self, work, error):
        trying = work(*(error() for _ in range(3)))
        with pytest.raises(error):
            in_transaction(trying)
        assert trying.calls == 3
        assert not RecoveryCodeCooldown.objects.exists()

    @pytest.mark.parametrize("error", [ProgrammingError, ValueError])
    def test_other_errors_are_raised_at_once(self, work, error):
        trying = work(error())
        with pytest.raises(error):
            in_transaction(trying)
        assert trying.calls == 1
        assert not RecoveryCodeCooldown.objects.exists()

    def test_after_a_failure_the_next_work_has_its_own_transaction(self, work):
        with pytest.raises(ValueError):
            in_transaction(work(ValueError()))
        assert in_transaction(work(OperationalError())) == "done"

    def test_work_within_work_is_one_transaction(self, work):
        inner, outer_calls = work(), []

        def outer():
            outer_calls.append(1)
            in_transaction(inner)
            raise ValueError

        with pytest.raises(ValueError):
            in_transaction(outer)
        assert (inner.calls, len(outer_calls)) == (1, 1)
        assert not RecoveryCodeCooldown.objects.exists()


@pytest.mark.django_db
class TestInsideTheCallersTransaction:
    def test_a_locked_database_is_the_callers_to_try_again(self, work):
        trying = work(OperationalError())
        with pytest.raises(OperationalError), transaction.atomic():
            in_transaction(trying)
        assert trying.calls == 1

    def test_a_lost_race_is_tried_again(self, work):
        trying = work(IntegrityError())
        with transaction.atomic():
            assert in_transaction(trying) == "done"
        assert RecoveryCodeCooldown.objects.get().key == "try 2"


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_what_runs_on_commit_has_transactions_of_its_own(make_user, make_codes, try_code):
    """R-05, R-44: a receiver that replaces used codes does it whole or not at all."""
    user = make_user()
    (code,) = make_codes(user, number_of_codes=1)
    seen = []

    def replace(signal, sender, **payload):
        def work():
            seen.append(transaction.get_connection().in_atomic_block)

        in_transaction(work)
        make_codes(payload["user"], number_of_codes=2)

    signals.code_used.connect(replace)
    try:
        assert try_code(user.email, code) == user
    finally:
        signals.code_used.disconnect(replace)
    assert seen == [True]
    assert RecoveryCode.objects.usable().of_user(user).count() == 2
