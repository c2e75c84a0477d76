"""What holds when requests arrive together. Runs on SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.core import mail
from django.db import connection, connections, transaction
from django.test import Client
from django_q.models import OrmQ

from recovery_backend import audit, cooldown, events, flows, stash, tasks
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.backends import RecoveryCodeBackend
from recovery_backend.codes import PresentedCode
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, lock
from recovery_backend.transactions import in_transaction
from tests.conftest import LOGIN, WRONG_CODE, Browser
from tests.owner import usable

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

# SQLite has one writer at a time, which fifty rounds would only prove more slowly.
ROUNDS = 50 if connection.vendor != "sqlite" else 10


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
    """R-21: in every round, and no error reaches a caller."""
    user = make_user()
    plain_codes, _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=ROUNDS)
    wins = []
    for code in plain_codes:
        wins.append(sum(together(number, face(user, code))))
        cooldown.clear(cooldown.account_key(user.email))
    assert wins == [1] * ROUNDS
    assert RecoveryCode.objects.filter(status="used").count() == ROUNDS


@pytest.fixture
def overtake(monkeypatch):
    """Between the next look-up of this code and its spending, a second step uses it.

    That takes none of the locks that keep the tries of one account apart. SQLite has one writer,
    so there it has to happen on the same connection.
    """

    def overtake(user, code):
        spend = RecoveryCode.spend

        def use(_position):
            return flows.use_at_step(None, user, PresentedCode(code))

        def spend_too_late(row):
            monkeypatch.setattr(RecoveryCode, "spend", spend)
            assert use(0) if connection.vendor == "sqlite" else all(together(1, use))
            return spend(row)

        monkeypatch.setattr(RecoveryCode, "spend", spend_too_late)

    return overtake


def test_a_code_that_is_used_after_it_was_looked_up_is_refused_as_used(
    user, codes, overtake, events
):
    """R-21"""
    overtake(user, codes[0])
    assert not by_function(user, codes[0])(0)
    assert events()[1:] == [("mfa.fallback_used", ""), ("code.replay", "used")]
    assert usable(user) == 2


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


@pytest.mark.skipif(
    not connection.features.has_select_for_no_key_update,
    reason="this database has one lock for rows and for what points to them",
)
def test_a_locked_owner_keeps_nobody_from_recording_what_they_did(user):
    """A change that holds a code and records it never waits for one that holds the owner.

    The other way round the second one waits for the code: a deadlock.
    """
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        lock(user)
        done = pool.submit(recorded, user)
        assert done.result(timeout=5)


def recorded(user):
    try:
        in_transaction(lambda: audit.record(audit.entry(Event.CODE_INVALIDATED, user=user)))
        return True
    finally:
        connection.close()


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


def at_once(browser, number, send):
    """The answers to `number` requests of one browser that start at one moment."""

    def work(position):
        tab = Browser()
        tab.cookies.load({name: morsel.value for name, morsel in browser.cookies.items()})
        return send(tab)

    return together(number, work)


@pytest.fixture
def generated(browser):
    """A browser with codes that nobody has looked at; they are in `generated.codes`."""
    assert browser.send("recovery_generate").status_code == 302
    user = RecoveryCodeBatch.objects.get().user
    batch, secret = RecoveryCodeBatch.objects.get(), browser.cookies[stash.COOKIE].value
    parts = (secret, browser.session.session_key)
    opened = stash.unseal("session", user, batch.public_id, batch.sealed, *parts)
    browser.codes = list(opened.codes)
    return browser


@pytest.mark.parametrize("is_atomic", [False, True])
def test_of_ten_parallel_looks_one_sees_the_codes(generated, monkeypatch, is_atomic):
    """R-74: also under ATOMIC_REQUESTS."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", is_atomic)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", is_atomic)
    pages = at_once(generated, 10, lambda tab: tab.open().text)
    first, last = generated.codes[0][:6], generated.codes[-1][-6:]
    assert sum(first in page and last in page for page in pages) == 1
    assert RecoveryCodeAudit.objects.filter(event=Event.BATCH_VIEWED).count() == 1


def test_of_ten_parallel_downloads_one_gets_the_file(generated):
    """R-76"""
    answers = at_once(generated, 10, lambda tab: tab.send_json("recovery_download"))
    files = [answer for answer in answers if answer.status_code == 200]
    assert len(files) == 1 and generated.codes[0] in files[0].text
    assert {answer.status_code for answer in answers} == {200, 400}
    assert RecoveryCodeAudit.objects.filter(event=Event.BATCH_DOWNLOADED).count() == 1


@pytest.mark.parametrize("asynchronous", [True, False])
def test_of_ten_parallel_requests_one_sends_the_e_mail(generated, settings, asynchronous):
    """R-81"""
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = asynchronous
    answers = at_once(generated, 10, lambda tab: tab.send_json("recovery_email").status_code)
    assert sorted(answers) == [200] + [400] * 9
    queued = OrmQ.objects.all()
    assert len(queued) == (1 if asynchronous else 0)
    for row in queued:
        together(5, lambda position, row=row: tasks.send_codes(*row.task["args"]))
    assert len(mail.outbox) == 1
    assert RecoveryCodeBatch.objects.get().email_state == "sent"


def test_ten_parallel_generations_on_the_page_leave_one_active_batch(user, generated):
    """R-44"""
    answers = at_once(
        generated, 10, lambda tab: tab.send("recovery_generate", confirm="on").status_code
    )
    assert answers == [302] * 10
    active = RecoveryCodeBatch.objects.get(status="active")
    usable = RecoveryCode.objects.usable().of_user(user)
    assert set(usable.values_list("batch", flat=True)) == {active.pk}
    assert usable.count() == 10
    assert RecoveryCodeBatch.objects.count() == 11


def test_ten_parallel_generations_are_counted_one_by_one(user, browser, settings):
    """R-62"""
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 5
    answers = at_once(
        browser, 10, lambda tab: tab.send("recovery_generate", confirm="on").status_code
    )
    assert sorted(answers) == [302] * 5 + [429] * 5
    assert RecoveryCodeBatch.objects.count() == 5


def test_without_a_confirmation_parallel_first_generations_replace_nothing(user, browser):
    """R-138: of ten clicks one makes codes, the others are asked."""
    answers = at_once(browser, 10, lambda tab: tab.send("recovery_generate").status_code)
    assert sorted(answers) == [200] * 9 + [302]
    assert RecoveryCodeBatch.objects.count() == 1


def test_of_ten_parallel_invalidations_of_one_code_one_is_done(user, generated):
    """R-46"""
    code = generated.codes[0]
    answers = at_once(
        generated, 10, lambda tab: tab.send_json("recovery_delete", recovery_code=code).status_code
    )
    assert sorted(answers) == [200] + [400] * 9
    assert RecoveryCodeAudit.objects.filter(event=Event.CODE_DELETED).count() == 1


def test_deleting_all_codes_and_signing_in_never_both_take_a_code(make_user, make_browser):
    """R-21, R-46"""
    user = make_user()
    browser = make_browser(user)
    for _ in range(20):
        (code,), batch = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=1)
        use = by_function(user, code)

        def work(position, use=use):
            if position:
                return use(position)
            return browser.send("recovery_delete_all", confirm="on").status_code == 302

        is_deleted, *signed_in = together(4, work)
        assert is_deleted
        row = RecoveryCode.objects.get(batch=batch)
        assert (row.status, sum(signed_in)) in {("used", 1), ("deleted", 0)}
        batch.refresh_from_db()
        assert batch.status == "deleted"


def test_testing_a_code_while_it_is_used_spends_it_once(make_user, make_browser):
    """R-21, R-33"""
    user = make_user()
    browser = make_browser(user)
    plain_codes, _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=20)
    for code in plain_codes:
        use = by_function(user, code)

        def work(position, use=use, code=code):
            if position:
                return use(position)
            answer = browser.send_json("recovery_verify_setup", recovery_code=code)
            return answer.status_code

        status, *signed_in = together(4, work)
        assert status in {200, 400}
        assert sum(signed_in) == 1
    assert RecoveryCode.objects.filter(status="used").count() == 20


def test_of_twenty_parallel_streams_five_get_a_place(user):
    """R-101"""
    assert sum(together(20, lambda position: events.open_place(user))) == 5
