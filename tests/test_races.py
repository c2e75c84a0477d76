"""What holds when requests arrive together. Runs on SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection
from django.test import Client

from recovery_backend import cooldown
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.backends import RecoveryCodeBackend
from recovery_backend.codes import PresentedCode
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.conftest import LOGIN, WRONG_CODE

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

ROUNDS = 50


@pytest.fixture(autouse=True)
def many_tries(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "100000/m"
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 100
    settings.DJANGO_AUTH_RECOVERY_CODES_NOTIFY = False


def together(number, work):
    """The results of `number` calls that start at one moment, each on a thread of its own."""
    barrier = Barrier(number)

    def one(position):
        barrier.wait()
        try:
            return work(position)
        finally:
            connection.close()

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


def by_function(user, code):
    def work(position):
        presented = PresentedCode(code)
        return RecoveryCodeBackend().authenticate(None, user.email, presented) is not None

    return work


def by_page(user, code):
    def work(position):
        data = {"email": user.email, "recovery_code": code}
        status = Client(raise_request_exception=True).post(LOGIN, data).status_code
        assert status in {200, 302, 429}
        return status == 302

    return work


@pytest.mark.parametrize("face", [by_function, by_page])
@pytest.mark.parametrize("number", [20, 100])
def test_of_many_parallel_uses_of_one_code_exactly_one_succeeds(make_user, face, number):
    """R-21: 50 rounds, no error reaches a caller."""
    user = make_user()
    plain_codes, _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=ROUNDS)
    wins = []
    for code in plain_codes:
        wins.append(sum(together(number, face(user, code))))
        cooldown.clear(cooldown.account_key(user.email))
    assert wins == [1] * ROUNDS
    assert RecoveryCode.objects.filter(status="used").count() == ROUNDS


@pytest.mark.parametrize("limit", [1, 5])
def test_of_forty_parallel_wrong_guesses_exactly_the_limit_is_looked_at(
    make_user, settings, limit
):
    """R-51: charged first, so that none slips through between reading and writing."""
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = limit
    for number in range(5):
        user = make_user()
        together(40, by_function(user, WRONG_CODE))
        refused = RecoveryCodeAudit.objects.filter(event=Event.LOGIN_FAIL).count()
        assert refused == limit * (number + 1)
        row = cooldown.RecoveryCodeCooldown.objects.get(key=cooldown.account_key(user.email))
        assert row.failures == limit


def test_a_right_code_among_forty_guesses_past_the_limit_is_not_spent(make_user, settings):
    """R-57"""
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 5
    user = make_user()
    (code,), _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=1)
    together(10, by_function(user, WRONG_CODE))
    assert not any(together(30, by_function(user, code)))
    assert RecoveryCode.objects.usable().count() == 1


def test_the_hard_cap_closes_at_exactly_its_number_from_forty_networks_at_once(
    make_user, make_request, settings
):
    """R-52"""
    settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = 7
    user = make_user()

    def work(position):
        request = make_request(address=f"203.0.113.{position + 1}")
        RecoveryCodeBackend().authenticate(request, user.email, PresentedCode(WRONG_CODE))

    together(40, work)
    assert RecoveryCodeAudit.objects.filter(event=Event.LOGIN_FAIL).count() == 7
    assert RecoveryCodeAudit.objects.filter(event=Event.LOGIN_SUSPENDED).count() == 1


def test_ten_parallel_generations_leave_one_active_batch(make_user):
    """R-44"""
    user = make_user()
    for _ in range(10):
        results = together(10, lambda position: RecoveryCodeBatch.create_recovery_batch(user))
        active = RecoveryCodeBatch.objects.filter(user=user, status="active")
        assert active.count() == 1
        usable = RecoveryCode.objects.usable().of_user(user)
        assert usable.count() == 10
        assert set(usable.values_list("batch", flat=True)) == {active.get().pk}
        assert active.get().pk in {batch.pk for _codes, batch in results}


def test_an_old_code_never_works_once_the_new_batch_is_there(make_user):
    """R-22, R-44: generating races with using."""
    user = make_user()
    for _ in range(20):
        (old,), _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=1)
        use = by_function(user, old)

        def work(position, use=use):
            if position == 0:
                RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=1)
                return use(position)
            return use(position)

        results = together(4, work)
        assert results[0] is False
        assert sum(results) <= 1
        assert RecoveryCode.objects.usable().of_user(user).count() == 1
