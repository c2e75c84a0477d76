"""Codes of django-auth-recovery-codes, made by its own model, and what they are worth afterwards."""

from __future__ import annotations

import logging
import re
import time
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, OperationalError, connection
from django.test import Client, override_settings
from django.utils import timezone
from django.views.debug import ExceptionReporter
from django_auth_recovery_codes.models import RecoveryCode as TheirCode
from django_auth_recovery_codes.models import RecoveryCodesBatch as TheirBatch

from recovery_backend.codes import PresentedCode
from recovery_backend.imports import source_of
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeSetup
from recovery_backend.transactions import in_transaction
from tests.conftest import WRONG_CODE
from tests.imports.command import counts, counts_of, ours, run
from tests.imports.keyed_settings import FORMER_KEY
from tests.test_canary import every_cell
from tests.test_races import together

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="\w+"')
KEYED = "django-auth-recovery-codes"


def make_theirs(user, number=3, days_to_expire=0):
    """Codes as their package makes them, under the key that was its own."""
    with override_settings(DJANGO_AUTH_RECOVERY_KEY=FORMER_KEY):
        made, _batch = TheirBatch.create_recovery_batch(user, days_to_expire, number)
    return [code for _state, code in made]


def their_row(user, code):
    """The row of a code that their package would accept."""
    with override_settings(DJANGO_AUTH_RECOVERY_KEY=FORMER_KEY):
        return TheirCode.get_by_code_and_user(code, user)


def use_there(user, code):
    """What their sign-in page does with a code, up to the sign-in."""
    row = their_row(user, code)
    return bool(row and row.mark_code_as_used())


@pytest.fixture
def theirs(user):
    return make_theirs(user)


class TestPrintedCodes:
    def test_they_sign_in_with_the_address_once_each(self, user, theirs, post_code, client):
        """R-21, at the page of e-mail and code."""
        assert use_there(user, theirs[2])
        run(KEYED)
        assert post_code(user.email, theirs[0]).status_code == 302
        assert client.session["_auth_user_id"] == str(user.pk)
        client.logout()
        assert post_code(user.email, theirs[0]).status_code == 200
        assert post_code(user.email, theirs[1]).status_code == 302

    def test_as_people_type_them(self, user, try_code):
        first, second, third = make_theirs(user)
        run(KEYED)
        assert try_code(user.email, first.replace("-", "")) == user
        assert try_code(user.email, " 3. " + second.replace("-", " \u2013 ")) == user
        assert try_code(user.email, third.swapcase()) is None

    def test_they_leave_the_other_table_and_its_digest_is_in_none(self, user, theirs):
        """R-10"""
        digests = list(TheirCode.objects.values_list("look_up_hash", flat=True))
        run(KEYED)
        assert their_row(user, theirs[0]) is None
        assert not [table for table, cell in every_cell() for d in digests if d.encode() in cell]

    def test_used_ones_stay_used(self, user, theirs, try_code, events):
        assert use_there(user, theirs[0])
        assert counts(KEYED) == counts_of(seen=1, users=1, codes=2, ended=1)
        assert try_code(user.email, theirs[0]) is None
        assert ("code.replay", "used") in events()
        assert RecoveryCode.objects.get(status="used").retired_at is not None

    def test_invalidated_and_deleted_ones_stay_so(self, user, theirs, try_code):
        their_row(user, theirs[0]).invalidate_code()
        their_row(user, theirs[1]).delete_code()
        assert counts(KEYED) == counts_of(seen=1, users=1, codes=1, ended=2)
        statuses = RecoveryCode.objects.order_by("status").values_list("status", flat=True)
        assert list(statuses) == ["active", "deleted", "invalidated"]
        assert try_code(user.email, theirs[0]) is None
        assert try_code(user.email, theirs[1]) is None
        assert try_code(user.email, theirs[2]) == user

    def test_they_expire_after_their_last_day(self, user, try_code, clock):
        codes = make_theirs(user, days_to_expire=2)
        last_day = timezone.now().date() + timedelta(days=2)
        run(KEYED)
        end = RecoveryCodeBatch.objects.get().expires_at
        assert end.date() == last_day + timedelta(days=1) and not end.hour + end.minute
        clock.move_to(end - timedelta(seconds=1))
        assert try_code(user.email, codes[0]) == user
        clock.move_to(end)
        assert try_code(user.email, codes[1]) is None

    def test_expired_ones_stay_expired(self, user, try_code, events, clock):
        codes = make_theirs(user, days_to_expire=1)
        clock.shift(3 * 24 * 3600)
        assert counts(KEYED, dry_run=True)["ended"] == 3
        assert counts(KEYED) == counts_of(seen=1, users=1, ended=3)
        assert try_code(user.email, codes[0]) is None
        assert ("login.fail", "expired") in events()

    def test_codes_of_an_inactive_owner_come_too_and_are_refused(
        self, user, theirs, try_code, events
    ):
        """R-23"""
        user.is_active = False
        user.save()
        assert counts(KEYED)["codes"] == 3
        assert try_code(user.email, theirs[0]) is None
        assert ("login.fail", "inactive") in events()

    def test_nobody_else_can_use_them(self, user, theirs, make_user, try_code, events):
        """R-24"""
        other = make_user()
        run(KEYED)
        assert try_code(other.email, theirs[0]) is None
        assert ("login.owner_mismatch", "mismatch") in events()

    def test_a_row_that_is_moved_to_another_user_opens_nothing(
        self, user, theirs, make_user, try_code, events
    ):
        """R-17"""
        other = make_user()
        run(KEYED)
        RecoveryCode.objects.update(user=other)
        assert try_code(other.email, theirs[0]) is None
        assert ("row.tamper", "tamper") in events()

    def test_former_lists_stay_where_they_are(self, user, theirs, try_code):
        newer = make_theirs(user)
        assert counts(KEYED)["codes"] == 3
        assert TheirCode.objects.count() == 3
        assert try_code(user.email, theirs[0]) is None
        assert try_code(user.email, newer[0]) == user

    def test_who_has_codes_of_ours_keeps_them(self, user, theirs, make_codes, try_code):
        mine = make_codes(user)
        run(KEYED)
        assert RecoveryCodeBatch.objects.get().number_issued == 6
        assert try_code(user.email, theirs[0]) == try_code(user.email, mine[0]) == user

    def test_the_dashboard_tests_and_ends_them(self, user, theirs, browser):
        """R-33, R-46"""
        run(KEYED)
        assert (
            browser.send_json("recovery_verify_setup", recovery_code=theirs[0]).status_code == 200
        )
        assert RecoveryCodeSetup.objects.get().verified_at
        assert browser.send_json("recovery_invalidate", recovery_code=theirs[0]).status_code == 200
        assert (
            browser.send_json("recovery_verify_setup", recovery_code=theirs[0]).status_code == 400
        )
        assert browser.send_json("recovery_delete", recovery_code=theirs[1]).status_code == 200
        assert RecoveryCode.objects.usable().count() == 1

    def test_newer_codes_end_them(self, user, theirs, make_codes, try_code):
        """R-44"""
        run(KEYED)
        make_codes(user)
        assert try_code(user.email, theirs[0]) is None

    def test_the_owner_sees_when_they_were_made(self, user, theirs):
        made_at = timezone.now() - timedelta(days=400)
        TheirBatch.objects.update(created_at=made_at)
        run(KEYED)
        assert RecoveryCodeBatch.objects.get().issued_at == made_at


class TestKeys:
    def test_without_the_former_key_they_rest(self, user, theirs, try_code, settings):
        run(KEYED)
        for key in ("", "another-key"):
            settings.DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY = key
            assert try_code(user.email, theirs[0]) is None
        settings.DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY = FORMER_KEY
        assert try_code(user.email, theirs[0]) == user

    def test_nothing_is_moved_without_it(self, theirs, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY = ""
        with pytest.raises(CommandError, match="CODES_IMPORTED_KEY"):
            run(KEYED)
        assert TheirCode.objects.count() == 3

    def test_our_key_can_be_changed(self, user, theirs, try_code, settings):
        """R-13"""
        run(KEYED)
        old = settings.DJANGO_AUTH_RECOVERY_KEY
        settings.DJANGO_AUTH_RECOVERY_KEY = "c0ffee" + old[6:][::-1]
        assert try_code(user.email, theirs[0]) is None
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [old]
        assert try_code(user.email, theirs[0]) == user

    def test_the_table_and_the_former_key_alone_find_nothing(self, user, theirs, settings):
        """R-11: who reads our table needs our key to test a guess."""
        run(KEYED)
        stored = set(RecoveryCode.objects.values_list("digest", flat=True))
        assert stored & set(PresentedCode(theirs[0]).digests())
        settings.DJANGO_AUTH_RECOVERY_KEY = settings.DJANGO_AUTH_RECOVERY_KEY[::-1]
        assert not stored & set(PresentedCode(theirs[0]).digests())

    def test_a_wrong_one_is_recorded_as_such_while_the_key_is_set(
        self, user, try_code, events, settings
    ):
        """Its letters include some that ours lack."""
        for key in (FORMER_KEY, ""):
            settings.DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY = key
            assert try_code(user.email, "l" * 36) is None
        assert events() == [("login.fail", "unknown"), ("login.fail", "malformed")]

    def test_nothing_at_all_is_no_code(self, user, theirs, try_code):
        """A row of theirs that holds the digest of nothing lets nobody in."""
        row = TheirCode.objects.first()
        with override_settings(DJANGO_AUTH_RECOVERY_KEY=FORMER_KEY):
            row.hash_raw_code("-")
        row.save()
        run(KEYED)
        assert [try_code(user.email, typed) for typed in ("", "-", " ", "x")] == [None] * 4


class TestCost:
    @pytest.mark.parametrize("typed", ["", "x" * 36, "12345678", WRONG_CODE])
    def test_a_refusal_asks_the_same_whatever_is_typed(self, user, theirs, typed, statements):
        """R-26: as many digests, one statement."""
        run(KEYED)
        code, right = PresentedCode(typed), PresentedCode(theirs[0])
        with statements() as said:
            assert RecoveryCode.objects.presented(code) is None
        assert len(said) == 1 and len(code.digests()) == len(right.digests()) == 2

    def test_a_refusal_answers_the_same(self, user, theirs, make_user, post_code):
        """R-26: unknown, no code at all, spent there, and another user's."""
        use_there(user, theirs[0])
        (foreign,) = make_theirs(make_user(), 1)
        run(KEYED)
        pages = set()
        for number, typed in enumerate([WRONG_CODE, "x", theirs[0], foreign, "l" * 36]):
            page = post_code(user.email, typed, client=Client(), address=f"198.51.100.{number}")
            pages.add((page.status_code, TOKEN.sub("", page.text)))
        assert len(pages) == 1 and {status for status, _text in pages} == {200}

    def test_a_sign_in_asks_no_more_than_with_a_code_of_ours(
        self, make_user, make_codes, try_code, statements
    ):
        mine, other = make_user(), make_user()
        (code,), (printed,) = make_codes(mine, 1), make_theirs(other, 1)
        run(KEYED)
        asked = []
        for user, typed in ((mine, code), (other, printed)):
            with statements() as said:
                assert try_code(user.email, typed) == user
            asked.append([sql.split(" ", 1)[0] for sql in said])
        assert asked[0] == asked[1]


class TestAnswer:
    def test_it_says_what_was_moved(self, user, theirs):
        use_there(user, theirs[0])
        assert run(KEYED) == ("Moved in: 1 user, 2 usable codes, 1 ended code.\n", "", 0)

    def test_a_dry_run_counts_the_same_and_changes_nothing(
        self, user, theirs, make_user, statements
    ):
        make_theirs(make_user())
        use_there(user, theirs[0])
        before = list(TheirCode.objects.order_by("pk").values())
        with statements() as said:
            answer = counts(KEYED, dry_run=True)
        assert said and not [sql for sql in said if not sql.startswith("SELECT")]
        assert list(TheirCode.objects.order_by("pk").values()) == before
        expected = {"seen": 2, "users": 2, "codes": 5, "ended": 1}
        assert answer == counts_of(**expected, is_dry_run=True)
        assert counts(KEYED) == counts_of(**expected)

    def test_a_second_run_changes_nothing(self, user, theirs, try_code):
        run(KEYED)
        try_code(user.email, theirs[0])
        before = ours()
        assert counts(KEYED) == counts_of()
        assert ours() == before

    def test_neither_does_a_backup_of_the_other_table_that_comes_back(
        self, user, theirs, try_code
    ):
        rows = list(TheirCode.objects.all())
        run(KEYED)
        try_code(user.email, theirs[0])
        before = ours()
        TheirCode.objects.bulk_create(rows)
        assert counts(KEYED) == counts_of(seen=1)
        assert ours() == before and not TheirCode.objects.exists()

    def test_what_cannot_be_read_is_left_and_named_by_its_owner_only(
        self, user, theirs, try_code, caplog
    ):
        row = their_row(user, theirs[0])
        TheirCode.objects.filter(pk=row.pk).update(look_up_hash="gone")
        out, _err, code = run(KEYED)
        assert code == 1 and "cannot be read: 1" in out
        assert f"user={user.pk}: rows=1" in caplog.text and "gone" not in out + caplog.text
        assert TheirCode.objects.get().pk == row.pk
        assert try_code(user.email, theirs[1]) == user

    def test_it_tells_no_code_and_no_digest(self, user, theirs, caplog):
        """R-119"""
        caplog.set_level(logging.DEBUG)
        secrets = [*theirs, *TheirCode.objects.values_list("look_up_hash", flat=True)]
        said = "".join(map(str, run(KEYED, dry_run=True) + run(KEYED))) + caplog.text
        assert not [secret for secret in secrets if secret in said]

    def test_their_checks_need_not_pass(self, theirs):
        with pytest.raises((AttributeError, TypeError)):
            call_command("check")
        run(KEYED, skip_checks=False)
        assert RecoveryCode.objects.count() == 3


@pytest.mark.parametrize(
    "holder",
    [
        "recovery_backend.codes.stored_imported_form",
        "recovery_backend.models.imported._stored",
        "recovery_backend.models.adopted.audit.record",
        "recovery_backend.imports.django_auth_recovery_codes._moved",
    ],
)
def test_a_fault_leaves_no_code_in_its_report_and_moves_nothing(theirs, monkeypatch, holder):
    """R-84"""

    def fail(*args, **kwargs):
        raise OperationalError

    before = list(TheirCode.objects.order_by("pk").values())
    monkeypatch.setattr(holder, fail)
    with pytest.raises(OperationalError) as caught:
        run(KEYED)
    below_this_test = caught.tb.tb_next  # which holds them
    report = ExceptionReporter(None, caught.type, caught.value, below_this_test)
    text = report.get_traceback_text() + report.get_traceback_html()
    assert "_take" in text
    assert not [
        secret for secret in (*theirs, *(row["look_up_hash"] for row in before)) if secret in text
    ]
    assert list(TheirCode.objects.order_by("pk").values()) == before and ours() == [[], [], []]


class TestRaces:
    def test_a_code_that_their_page_has_just_looked_up(self, user, theirs, try_code):
        """R-21: it signs nobody in there, and goes on working here."""
        row = their_row(user, theirs[0])
        run(KEYED)
        with pytest.raises(DatabaseError):
            row.mark_code_as_used()
        assert try_code(user.email, theirs[0]) == user

    @pytest.mark.services
    def test_a_code_that_is_used_meanwhile_works_once(self, make_user, try_code):
        """R-21: accepted by their page or by ours, and by one of them only, in every round."""
        accepted = []
        for number in range(30 if connection.vendor != "sqlite" else 8):
            user = make_user()
            (code,) = make_theirs(user, 1)
            row = their_row(user, code)

            def work(position, user=user, code=code, row=row, number=number):
                if position == 0:
                    time.sleep(number % 5 * 0.01)  # so that each of them is the first at times
                    source_of(KEYED).take(user)
                    return False
                if position == 1:
                    return try_code(user.email, code, address="198.51.100.9") == user
                try:
                    return bool(row.mark_code_as_used())
                except DatabaseError:
                    return False

            results = together(3, work)
            results.append(try_code(user.email, code) == user)
            assert sum(results) == 1
            accepted.append(results[2])
        if connection.vendor != "sqlite":
            assert any(accepted)

    @pytest.mark.services
    def test_two_runs_at_once_move_each_code_once(self, make_user):
        for _round in range(10):
            user = make_user()
            make_theirs(user, 5)
            moved = together(2, lambda position, user=user: source_of(KEYED).take(user).codes)
            assert sorted(moved) == [0, 5]
            assert RecoveryCodeBatch.objects.get(user=user).number_issued == 5

    def test_a_failure_in_the_middle_of_a_user_undoes_that_user(self, user, theirs):
        def work():
            source_of(KEYED).take(user)
            raise RuntimeError

        with pytest.raises(RuntimeError):
            in_transaction(work)
        assert TheirCode.objects.count() == 3 and ours() == [[], [], []]
