"""Codes that were moved in, beside ours: what the owner and the operator read of them."""

from __future__ import annotations

import hmac
import io
from dataclasses import asdict
from datetime import timedelta

import pytest
from django.contrib.auth import authenticate
from django.core import checks
from django.core.cache import cache
from django.core.management import call_command
from django.utils import timezone

from recovery_backend import imports
from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.codes import canonicalise, generate
from recovery_backend.history import overview_of
from recovery_backend.imports import Moved, Source
from recovery_backend.models import (
    ImportedCode,
    RecoveryCode,
    RecoveryCodeBatch,
    adopt,
    import_codes,
)
from recovery_backend.purge import purge_codes
from tests.owner import active

pytestmark = pytest.mark.django_db
THEIR_KEY = "what-their-key-was"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def their_key(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY = THEIR_KEY


def as_kept(code, **fields):
    """The code as its former package keeps it."""
    digest = hmac.digest(THEIR_KEY.encode(), canonicalise(code).encode(), "sha3_512").hex()
    return ImportedCode(digest, **fields)


@pytest.fixture
def move_in(user):
    """Move three codes of the user in; the codes."""

    def move_in(**fields):
        codes = [generate() for _ in range(3)]
        import_codes(user, [as_kept(code, **fields) for code in codes])
        return codes

    return move_in


def left_of(user):
    """How many codes the user has, as everybody counts them."""
    cache.clear()
    left = overview_of(user).left
    assert left == active(user).codes_left()
    return left


class TestHowManyAreLeft:
    """Each code has an end of its own, which need not be that of the list that it joined."""

    def test_codes_without_an_end_beside_a_list_that_ended(self, user, make_codes, clock, move_in):
        make_codes(user, days_to_expire=10)
        clock.shift(11 * DAY)
        code, *_rest = move_in()
        overview = overview_of(user)
        assert (overview.left, overview.is_expired, overview.can_test) == (3, True, True)
        assert authenticate(None, email=user.email, recovery_code=code) == user
        assert left_of(user) == 2

    def test_codes_that_ended_beside_a_list_without_an_end(self, user, make_codes, move_in):
        make_codes(user, number_of_codes=3)
        move_in(expires_at=timezone.now() - DAY)
        assert left_of(user) == 3
        assert active(user).expires_at is None
        purge_codes(0)
        assert left_of(user) == 3

    @pytest.mark.parametrize("days", [5, 20, None])
    def test_codes_that_end_before_their_list_or_after_it(
        self, user, make_codes, move_in, clock, days
    ):
        make_codes(user, number_of_codes=3, days_to_expire=10)
        list_end = active(user).expires_at
        move_in(expires_at=None if days is None else timezone.now() + days * DAY)
        assert left_of(user) == 6 and active(user).expires_at == list_end
        for passed, expected in ((6, 3 if days == 5 else 6), (11, 0 if days == 5 else 3)):
            clock.move_to(list_end + (passed - 10) * DAY)
            assert left_of(user) == expected
            purge_codes(0)
            assert left_of(user) == expected

    def test_the_owner_is_reminded_of_the_codes_that_were_generated(
        self, user, make_codes, move_in, clock
    ):
        """R-48: what was moved in hides no end."""
        make_codes(user, number_of_codes=3, days_to_expire=10)
        move_in()
        clock.shift(11 * DAY)
        assert list(RecoveryCodeBatch.objects.newly_expired()) == [active(user)]
        assert active(user).codes_expired() == 3

    def test_a_list_of_such_codes_alone_ends_with_the_last_of_them(self, user, clock):
        ends = [timezone.now() + days * DAY for days in (5, 10)]
        import_codes(user, [as_kept(generate(), expires_at=end) for end in ends])
        assert active(user).expires_at == ends[1] and left_of(user) == 2
        clock.shift(6 * DAY)
        assert left_of(user) == 1
        clock.shift(5 * DAY)
        assert left_of(user) == 0 and active(user).codes_expired() == 2

    def test_short_codes_outlive_the_list_that_they_join(self, user, make_codes, clock):
        make_codes(user, number_of_codes=3, days_to_expire=10)
        adopt(user, [("12345678", False)], replaces=False)
        clock.shift(11 * DAY)
        overview = overview_of(user)
        assert (overview.left, overview.can_test, overview.is_expired) == (1, False, True)
        purge_codes(0)
        assert left_of(user) == 1


class TestShortOnes:
    def test_they_are_known_under_a_newer_key_too(self, user, settings):
        codes = [("12345678", False)]
        adopt(user, codes, replaces=False)
        old = settings.DJANGO_AUTH_RECOVERY_KEY
        settings.DJANGO_AUTH_RECOVERY_KEY = "c0ffee" + old[6:][::-1]
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [old]
        assert adopt(user, codes, replaces=False).entry is None
        assert RecoveryCode.objects.count() == 1

    def test_a_list_of_what_is_no_code_changes_nothing(self, user):
        with pytest.raises(ValueError, match="Not a short code"):
            adopt(user, [("12345678", False), ("§§", False)], replaces=True)
        assert not RecoveryCodeBatch.objects.exists()

    def test_a_code_that_stands_twice_counts_once_and_is_spent_if_both_are(self, user):
        twice = [("12345678", True), ("1234-5678", False), ("23456789", True), ("23456789", True)]
        adopted = adopt(user, twice, replaces=False)
        assert (adopted.number_unused, adopted.number_ended) == (1, 1)


class TestWithoutTheirKey:
    """R-18: codes that rest are no surprise."""

    def test_it_is_said_how_many_rest(self, move_in, settings):
        move_in()
        assert not warnings()
        settings.DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY = ""
        [warning] = warnings()
        assert warning.id == "recovery_backend.W035" and warning.msg.startswith("3 usable codes")

    def test_who_has_none_of_them_hears_nothing(self, user, make_codes, settings):
        make_codes(user)
        settings.DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY = ""
        assert not warnings() and "IMPORTED_KEY" not in status()

    def test_the_status_of_keys_says_when_it_may_go(self, user, move_in, make_codes, settings):
        move_in()
        assert "Of these codes 3 need IMPORTED_KEY, which is set." in status()
        settings.DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY = ""
        assert "Of these codes 3 need IMPORTED_KEY, which is missing." in status()
        make_codes(user)
        assert "IMPORTED_KEY" not in status()


class TestRecord:
    """R-115: a run is one event, beside one for each list."""

    def source(self, take, owners):
        return Source("elsewhere", lambda: owners.values("pk"), take, take)

    def test_it_says_from_where_and_how_many(self, user, events, django_user_model):
        source = self.source(lambda user: Moved(users=1, codes=2), django_user_model.objects.all())
        imports.run(source)
        assert recorded() == as_recorded(seen=1, users=1, codes=2)

    def test_also_what_failed(self, user, django_user_model):
        def fail(user):
            raise RuntimeError

        imports.run(self.source(fail, django_user_model.objects.all()))
        assert recorded() == as_recorded(seen=1, unreadable=1)

    def test_and_what_was_done_until_it_was_stopped(self, make_user, django_user_model):
        make_user(), make_user()

        def stop(moved):
            raise KeyboardInterrupt

        source = self.source(lambda user: Moved(users=1, codes=2), django_user_model.objects.all())
        with pytest.raises(KeyboardInterrupt):
            imports.run(source, on_user=stop)
        assert recorded() == as_recorded(seen=1, users=1, codes=2)

    def test_a_run_that_only_counts_or_finds_nothing_is_none(
        self, user, events, django_user_model
    ):
        everybody = django_user_model.objects.all()
        imports.run(self.source(lambda user: Moved(users=1), everybody), is_dry_run=True)
        imports.run(self.source(lambda user: Moved(), everybody))
        assert events() == []


def as_recorded(**numbers):
    return {"source": "elsewhere", **asdict(Moved(**numbers))}


def recorded():
    return RecoveryCodeAudit.objects.get(event="recovery.import.done").data


def warnings():
    return [it for it in checks.run_checks(databases=["default"]) if it.id.endswith("W035")]


def status():
    out = io.StringIO()
    call_command("recovery_keys", "status", stdout=out)
    return out.getvalue()
