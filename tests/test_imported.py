"""Codes that were moved in, beside ours: what the owner and the operator read of them."""

from __future__ import annotations

import hmac
import io
from datetime import timedelta

import pytest
from django.contrib.auth import authenticate
from django.core import checks
from django.core.management import call_command
from django.utils import timezone

from recovery_backend import imports
from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.codes import canonicalise, generate
from recovery_backend.history import overview_of
from recovery_backend.imports import Moved, Source
from recovery_backend.models import ImportedCode, RecoveryCode, adopt, import_codes
from recovery_backend.purge import purge_codes
from tests.owner import active

pytestmark = pytest.mark.django_db
THEIR_KEY = "what-their-key-was"
DAY = timedelta(days=1)
ZERO = dict.fromkeys(("seen", "users", "codes", "weak", "ended", "unreadable"), 0)


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


class TestHowManyAreLeft:
    def test_codes_without_an_end_beside_a_list_that_ended(self, user, make_codes, clock, move_in):
        make_codes(user, days_to_expire=10)
        clock.shift(11 * DAY)
        code, *_rest = move_in()
        overview = overview_of(user)
        assert (overview.left, overview.is_expired, active(user).expires_at) == (3, False, None)
        assert authenticate(None, email=user.email, recovery_code=code) == user

    def test_codes_that_ended_beside_a_list_without_an_end(self, user, make_codes, move_in):
        make_codes(user, number_of_codes=3)
        move_in(expires_at=timezone.now() - DAY)
        assert overview_of(user).left == active(user).codes_left() == 3
        assert active(user).expires_at is None

    def test_codes_that_were_used_make_no_list_last_longer(self, user, make_codes, move_in):
        make_codes(user, number_of_codes=3, days_to_expire=10)
        end = active(user).expires_at
        move_in(status=RecoveryCode.Status.USED, retired_at=timezone.now())
        adopt(user, [("12345678", True)], replaces=False)
        assert (active(user).expires_at, overview_of(user).left) == (end, 3)

    @pytest.mark.parametrize(("days", "expected"), [(5, 10), (20, 20)])
    def test_a_list_ends_when_the_last_of_its_codes_does(
        self, user, make_codes, move_in, days, expected
    ):
        make_codes(user, number_of_codes=3, days_to_expire=10)
        before, end = active(user), timezone.now() + days * DAY
        move_in(expires_at=end)
        assert active(user).expires_at == (before.expires_at if expected == 10 else end)
        assert overview_of(user).left == 6

    def test_some_that_end_earlier_are_counted_no_more(self, user, make_codes, move_in, clock):
        make_codes(user, number_of_codes=3, days_to_expire=10)
        move_in(expires_at=timezone.now() + 5 * DAY)
        clock.shift(6 * DAY)
        assert overview_of(user).left == active(user).codes_left() == 3
        purge_codes(0)
        assert overview_of(user).left == active(user).codes_left() == 3

    def test_a_longer_list_is_reminded_of_anew(self, user, make_codes, move_in):
        make_codes(user, days_to_expire=10)
        type(active(user)).objects.update(expiry_note="expired")
        move_in(expires_at=timezone.now() + 20 * DAY)
        assert active(user).expiry_note == type(active(user)).ExpiryNote.NONE

    def test_short_codes_outlive_the_list_that_they_join(self, user, make_codes, clock):
        make_codes(user, number_of_codes=3, days_to_expire=10)
        adopt(user, [("12345678", False)], replaces=False)
        clock.shift(11 * DAY)
        overview = overview_of(user)
        assert (overview.left, overview.can_test, overview.is_expired) == (1, False, True)
        purge_codes(0)
        assert overview_of(user).left == 1


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
        assert recorded() == {**ZERO, "source": "elsewhere", "seen": 1, "users": 1, "codes": 2}

    def test_also_what_failed(self, user, django_user_model):
        def fail(user):
            raise RuntimeError

        imports.run(self.source(fail, django_user_model.objects.all()))
        assert recorded() == {**ZERO, "source": "elsewhere", "seen": 1, "unreadable": 1}

    def test_and_what_was_done_until_it_was_stopped(self, make_user, django_user_model):
        make_user(), make_user()

        def stop(moved):
            raise KeyboardInterrupt

        source = self.source(lambda user: Moved(users=1, codes=2), django_user_model.objects.all())
        with pytest.raises(KeyboardInterrupt):
            imports.run(source, on_user=stop)
        assert recorded() == {**ZERO, "source": "elsewhere", "seen": 1, "users": 1, "codes": 2}

    def test_a_run_that_only_counts_or_finds_nothing_is_none(
        self, user, events, django_user_model
    ):
        everybody = django_user_model.objects.all()
        imports.run(self.source(lambda user: Moved(users=1), everybody), is_dry_run=True)
        imports.run(self.source(lambda user: Moved(), everybody))
        assert events() == []


def recorded():
    return RecoveryCodeAudit.objects.get(event="recovery.import.done").data


def warnings():
    return [it for it in checks.run_checks(databases=["default"]) if it.id.endswith("W035")]


def status():
    out = io.StringIO()
    call_command("recovery_keys", "status", stdout=out)
    return out.getvalue()
