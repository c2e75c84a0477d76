"""Codes of django-auth-recovery-codes, made by its own model, and what they are worth afterwards."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.test import Client, override_settings
from django.utils import timezone
from django_auth_recovery_codes.models import RecoveryCode as TheirCode
from django_auth_recovery_codes.models import RecoveryCodesBatch as TheirBatch

from recovery_backend.codes import PresentedCode
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeSetup
from tests.conftest import LOGIN, WRONG_CODE
from tests.imports.command import counts, counts_of, run
from tests.imports.every_source import TestAnswer, TestFaults, TestPrintedCodes, TestRaces
from tests.imports.keyed_settings import FORMER_KEY

__all__ = ["TestAnswer", "TestFaults", "TestPrintedCodes", "TestRaces"]

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


class Keyed:
    """Kept as keyed digests, noted when used, and good at the page of e-mail and code."""

    name = KEYED
    model = TheirCode
    secret = "look_up_hash"
    is_weak, keeps_used = False, True
    refused = "login.fail"
    make = staticmethod(make_theirs)

    def rows(self):
        return list(TheirCode.objects.order_by("pk").values())

    def use(self, user, code):
        client = Client(REMOTE_ADDR="198.51.100.9")
        client.post(LOGIN, {"email": user.email, "recovery_code": code})
        return client.session.get(SESSION_KEY) == str(user.pk)

    def use_there(self, user, code):
        return self.about_to_use_there(user, code)()

    def about_to_use_there(self, user, code):
        """What their sign-in page does with a code that it has looked up, up to the sign-in."""
        row = their_row(user, code)

        def use_there():
            try:
                return bool(row and row.mark_code_as_used())
            except DatabaseError:
                return False

        return use_there

    def spoil(self, user, code):
        row = their_row(user, code)
        TheirCode.objects.filter(pk=row.pk).update(look_up_hash="spoiled")
        return "spoiled"

    def date_back(self, moment):
        TheirBatch.objects.update(created_at=moment)


@pytest.fixture
def source():
    return Keyed()


@pytest.fixture(
    params=[
        "recovery_backend.codes.stored_imported_form",
        "recovery_backend.models.imported.known_digests",
        "recovery_backend.audit.record",
        "recovery_backend.imports.django_auth_recovery_codes._moved",
    ]
)
def holder(request):
    """What fails while it holds a code."""
    return request.param


class TestCodes:
    def test_as_people_type_them(self, user, try_code):
        first, second, third = make_theirs(user)
        run(KEYED)
        assert try_code(user.email, first.replace("-", "")) == user
        assert try_code(user.email, " 3. " + second.replace("-", " \u2013 ")) == user
        assert try_code(user.email, third.swapcase()) is None

    def test_used_ones_are_known_as_used(self, user, source, theirs, try_code, events):
        assert source.use_there(user, theirs[0])
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

    def test_a_last_day_without_an_end_of_its_own_is_none(self, user, try_code):
        code, *_rest = make_theirs(user, days_to_expire=2)
        TheirBatch.objects.update(expiry_date=date.max)
        assert counts(KEYED)["codes"] == 3
        assert RecoveryCodeBatch.objects.get().expires_at is None
        assert try_code(user.email, code) == user

    def test_on_a_site_without_time_zones(self, user, try_code, settings):
        settings.USE_TZ = False
        codes = make_theirs(user, days_to_expire=2)
        their_row(user, codes[0]).mark_code_as_used()
        assert counts(KEYED) == counts_of(seen=1, users=1, codes=2, ended=1)
        end = RecoveryCodeBatch.objects.get().expires_at
        last_day = TheirBatch.objects.get().expiry_date
        assert end == datetime.combine(last_day + timedelta(days=1), time.min)
        assert try_code(user.email, codes[0]) is None
        assert try_code(user.email, codes[1]) == user

    def test_expired_ones_stay_expired(self, user, try_code, events, clock):
        codes = make_theirs(user, days_to_expire=1)
        clock.shift(3 * 24 * 3600)
        assert counts(KEYED, dry_run=True)["ended"] == 3
        assert counts(KEYED) == counts_of(seen=1, users=1, ended=3)
        assert try_code(user.email, codes[0]) is None
        assert ("login.fail", "expired") in events()

    def test_whoever_tries_those_of_others_is_recorded(self, theirs, make_user, try_code, events):
        """R-24"""
        run(KEYED)
        assert try_code(make_user().email, theirs[0]) is None
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

    def test_the_dashboard_tests_those_that_work(self, theirs, browser):
        """R-33"""

        def status(action):
            return browser.send_json(f"recovery_{action}", recovery_code=theirs[0]).status_code

        run(KEYED)
        assert status("verify_setup") == 200
        assert RecoveryCodeSetup.objects.get().verified_at
        assert status("invalidate") == 200
        assert status("verify_setup") == 400

    def test_newer_codes_end_them(self, user, theirs, make_codes, try_code):
        """R-44"""
        run(KEYED)
        make_codes(user)
        assert try_code(user.email, theirs[0]) is None


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

    def test_a_refusal_answers_the_same(self, user, source, theirs, make_user, post_code):
        """R-26: unknown, no code at all, spent there, and another user's."""
        source.use_there(user, theirs[0])
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


class TestOwnAnswer:
    def test_it_says_what_was_moved(self, user, source, theirs):
        source.use_there(user, theirs[0])
        assert run(KEYED) == ("Moved in: 1 user, 2 usable codes, 1 ended code.\n", "", 0)

    def test_their_checks_need_not_pass(self, theirs):
        with pytest.raises((AttributeError, TypeError)):
            call_command("check")
        run(KEYED, skip_checks=False)
        assert RecoveryCode.objects.count() == 3


def test_a_code_that_their_page_has_just_looked_up(user, theirs, try_code):
    """R-21: it signs nobody in there, and goes on working here."""
    row = their_row(user, theirs[0])
    run(KEYED)
    with pytest.raises(DatabaseError):
        row.mark_code_as_used()
    assert try_code(user.email, theirs[0]) == user
