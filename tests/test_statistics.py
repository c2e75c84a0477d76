"""Counts proven against rows that were made by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from recovery_backend import statistics
from recovery_backend.audit import Event, Outcome, Reason, RecoveryCodeAudit
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodePurgeHistory
from recovery_backend.purge import purge_codes
from recovery_backend.statistics import Adoption, Day, Period, overview
from recovery_backend.statistics.overview import CACHE_SECONDS, cache_key

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FEW_SETTING = "DJANGO_AUTH_RECOVERY_CODES_LOW_CODES_WARNING"


@pytest.fixture
def make_event(db):
    def make(at, event=Event.LOGIN_SUCCESS, reason="", **fields):
        outcome = Outcome.REFUSED if reason else Outcome.DONE
        return RecoveryCodeAudit.objects.create(
            at=at, event=event, outcome=outcome, reason=reason, **fields
        )

    return make


@pytest.fixture
def noon():
    """Noon (UTC) of 31 March 2026."""
    with time_machine.travel(NOON, tick=False):
        yield NOON


def numbers(day):
    return day.sign_ins, day.failures, day.cooldowns, day.generated


class TestPeriod:
    def test_today_is_the_last_of_its_days(self, noon):
        period = Period.of_days(7)
        assert (period.first, period.last) == (date(2026, 3, 25), date(2026, 3, 31))
        assert period.since == datetime(2026, 3, 25, tzinfo=UTC)
        assert period.until == datetime(2026, 4, 1, tzinfo=UTC)
        assert period.dates() == [date(2026, 3, day) for day in range(25, 32)]

    def test_the_days_are_those_of_the_site_and_not_of_the_visitor(self, noon, settings):
        settings.TIME_ZONE = "Pacific/Kiritimati"
        with timezone.override("America/Los_Angeles"):
            assert Period.of_days(1).last == date(2026, 4, 1)

    def test_a_day_that_begins_an_hour_late_begins_at_the_change_of_clocks(self, settings):
        settings.TIME_ZONE = "Africa/Cairo"
        day = Period(date(2026, 4, 24), date(2026, 4, 24))
        assert (day.since, day.until - day.since) == (
            datetime(2026, 4, 23, 22, tzinfo=UTC),
            timedelta(hours=23),
        )

    @pytest.mark.parametrize("number", [0, -1, statistics.MAX_DAYS + 1])
    def test_other_numbers_of_days_are_refused(self, number):
        with pytest.raises(ValueError, match="from 1 to 3650"):
            Period.of_days(number)


@pytest.mark.services
class TestActivity:
    def test_each_event_is_counted_on_its_day(self, noon, make_event, user):
        today, yesterday = noon, noon - timedelta(days=1)
        make_event(today, Event.LOGIN_SUCCESS, user=user)
        make_event(today, Event.LOGIN_SUCCESS_AFTER_FAIL, user=user)
        make_event(today, Event.BATCH_GENERATED, user=user)
        make_event(today, Event.BATCH_SUPERSEDED, user=user)
        make_event(yesterday, Event.LOGIN_FAIL, Reason.UNKNOWN)
        make_event(yesterday, Event.LOGIN_FAIL, Reason.UNKNOWN)
        make_event(yesterday, Event.LOGIN_OWNER_MISMATCH, Reason.MISMATCH, user=user)
        make_event(yesterday, Event.CODE_REPLAY, Reason.USED, user=user)
        make_event(yesterday, Event.ROW_TAMPER, Reason.TAMPER, user=user)
        make_event(yesterday, Event.LOGIN_THROTTLED, Reason.COOLDOWN)
        make_event(yesterday, Event.LOGIN_SUSPENDED, Reason.CLOSED)
        make_event(yesterday, Event.BATCH_REGENERATED, user=user)
        found = statistics.activity(3)
        assert [numbers(day) for day in found.days] == [(0, 0, 0, 0), (0, 5, 2, 1), (2, 0, 0, 1)]
        assert [day.date.day for day in found.days] == [29, 30, 31]
        assert found.total == 12
        assert found.outcomes == [("refused", 7), ("done", 5)]
        assert found.reasons == [
            ("unknown", 2),
            ("closed", 1),
            ("cooldown", 1),
            ("mismatch", 1),
            ("tamper", 1),
            ("used", 1),
        ]
        assert found.events[0] == ("recovery.login.fail", 2)
        assert sum(count.number for count in found.events) == 12

    def test_the_first_and_the_last_second_of_the_period_count(self, noon, make_event):
        period = Period.of_days(2)
        for at in (period.since - SECOND, period.since, period.until - SECOND, period.until):
            make_event(at)
        days = statistics.activity(2).days
        assert [day.sign_ins for day in days] == [1, 1]

    @pytest.mark.parametrize(
        "zone",
        ["UTC", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"],
    )
    def test_midnight_is_the_sites(self, noon, make_event, settings, zone):
        settings.TIME_ZONE = zone
        midnight = Period.of_days(1).since
        for at in (midnight - SECOND, midnight, midnight + SECOND):
            make_event(at)
        assert [day.sign_ins for day in statistics.activity(2).days] == [1, 2]

    @pytest.mark.parametrize(("month", "hours"), [(3, 23), (10, 25)])
    def test_days_on_which_the_clocks_change_are_whole(self, make_event, settings, month, hours):
        settings.TIME_ZONE = "Europe/Berlin"
        changed = {3: date(2026, 3, 29), 10: date(2026, 10, 25)}[month]
        day = Period(changed, changed)
        for passed in range(hours):
            make_event(day.since + timedelta(hours=passed))
        make_event(day.until)
        with time_machine.travel(day.until + timedelta(hours=1), tick=False):
            assert [day.sign_ins for day in statistics.activity(3).days] == [0, hours, 1]

    def test_events_of_deleted_users_stay_counted(self, noon, make_event, user):
        make_event(noon, user=user)
        user.delete()
        assert statistics.activity(1).total == 1

    def test_without_events_every_day_is_there(self, noon, db):
        found = statistics.activity(90)
        assert len(found.days) == 90
        assert {numbers(day) for day in found.days} == {(0, 0, 0, 0)}
        assert (found.total, found.events, found.outcomes, found.reasons) == (0, [], [], [])

    def test_it_is_one_query(self, noon, make_event, django_assert_num_queries):
        make_event(noon)
        with django_assert_num_queries(1):
            statistics.activity(90)

    def test_what_a_newer_release_wrote_is_counted_under_its_name(self, noon, make_event):
        make_event(noon, "recovery.of.tomorrow")
        [count] = statistics.activity(1).events
        assert statistics.label(Event, count.name) == "recovery.of.tomorrow"
        assert statistics.label(Event, Event.LOGIN_FAIL) == "code refused"

    def test_a_site_without_time_zones_is_counted_too(self, settings, make_event):
        settings.USE_TZ = False
        with time_machine.travel(NOON, tick=False):
            now = timezone.now()
            make_event(now.replace(hour=0, minute=0, second=0))
            make_event(now.replace(hour=0, minute=0, second=0) - SECOND)
            assert [day.sign_ins for day in statistics.activity(2).days] == [1, 1]


def spend(user, number):
    pks = RecoveryCode.objects.of_user(user).usable().values_list("pk", flat=True)[:number]
    for code in RecoveryCode.objects.filter(pk__in=list(pks)):
        assert code.spend()


def expire(user):
    past = timezone.now() - timedelta(days=1)
    RecoveryCodeBatch.objects.filter(user=user).update(expires_at=past)
    RecoveryCode.objects.of_user(user).update(expires_at=past)


@pytest.mark.services
class TestAdoption:
    def test_every_active_user_is_counted_once(self, make_user, make_codes, db):
        """By hand: two have enough, three few, two none left, one expired, three no codes."""
        for spent in (0, 6, 7, 8, 10):
            user = make_user()
            make_codes(user, 10)
            spend(user, spent)
        for number in (2, 1):  # few from the beginning; then, one and none of one
            user = make_user()
            make_codes(user, number)
            spend(user, 2 - number)
        expired = make_user()
        make_codes(expired, 10)
        spend(expired, 9)
        expire(expired)
        make_user()
        deleted, closed = make_user(), make_user(is_active=False)
        make_codes(deleted)
        RecoveryCodeBatch.objects.active_of(deleted).delete_codes()
        make_codes(closed)
        replaced = make_user()
        make_codes(replaced, 10)
        make_codes(replaced, 3)
        assert statistics.adoption() == Adoption(
            users=11, enough=2, few_left=4, none_left=2, expired=1
        )
        assert statistics.adoption().without == 2

    def test_codes_that_were_purged_are_not_left(self, make_user, make_codes, clock):
        for spent in (1, 7, 10):
            user = make_user()
            make_codes(user, 10)
            spend(user, spent)
        before = statistics.adoption()
        clock.shift(60)
        assert purge_codes(0).codes == 18
        assert statistics.adoption() == before
        assert (before.enough, before.few_left, before.none_left) == (1, 1, 1)
        spend(RecoveryCodeBatch.objects.order_by("pk")[1].user, 3)
        assert statistics.adoption().none_left == 2

    @pytest.mark.parametrize(("low", "few"), [(0, 0), (2, 1), (3, 2), (10, 3)])
    def test_what_few_means_is_a_setting(self, make_user, make_codes, settings, low, few):
        setattr(settings, FEW_SETTING, low)
        for number in (2, 3, 4):
            make_codes(make_user(), number)
        assert statistics.adoption().few_left == few

    def test_it_agrees_with_the_codes_that_can_be_used(self, make_user, make_codes):
        for spent in range(6):
            user = make_user()
            make_codes(user, 5)
            spend(user, spent)
        left = [RecoveryCode.objects.of_user(user).usable().count() for user in _owners()]
        found = statistics.adoption()
        assert found.enough == sum(number > 3 for number in left)
        assert found.few_left == sum(0 < number <= 3 for number in left)
        assert found.none_left == left.count(0)

    def test_counters_that_were_altered_break_nothing(self, user, codes):
        RecoveryCodeBatch.objects.update(purged_used=9)
        spend(user, 1)
        assert statistics.adoption() == Adoption(1, 0, 0, 1, 0)

    def test_nobody_at_all(self, db):
        assert statistics.adoption() == Adoption(0, 0, 0, 0, 0)
        assert statistics.adoption().without == 0

    @pytest.mark.parametrize("place", [1, 2])
    def test_a_purge_before_any_of_its_queries_changes_no_count(
        self, make_user, make_codes, clock, place
    ):
        for spent in (1, 7, 10, 10):
            user = make_user()
            make_codes(user, 10)
            spend(user, spent)
        clock.shift(60)
        statements, purged = [], []

        def purge_at_this_place(execute, sql, *rest):
            statements.append(sql)
            if len(statements) == place:
                purged.append(purge_codes(0).codes)
            return execute(sql, *rest)

        with connection.execute_wrapper(purge_at_this_place):
            found = statistics.adoption()
        assert purged == [28]
        assert found == Adoption(users=4, enough=1, few_left=1, none_left=2, expired=0)

    def test_it_takes_two_queries(self, codes, django_assert_num_queries):
        with django_assert_num_queries(2):
            statistics.adoption()


def _owners():
    return [batch.user for batch in RecoveryCodeBatch.objects.select_related("user")]


@pytest.mark.services
class TestReport:
    def test_users_and_addresses_are_counted_once(self, noon, make_event, make_user):
        ada, bob, gone = make_user(), make_user(), make_user()
        make_event(noon, user=ada, account="a" * 64)
        make_event(noon, user=ada, account="a" * 64)
        make_event(noon, user=bob, account="b" * 64)
        make_event(noon, user=gone, account="c" * 64)
        make_event(noon, Event.LOGIN_FAIL, Reason.UNKNOWN, account="d" * 64)
        make_event(noon, Event.PURGE_DONE)
        make_event(noon - timedelta(days=3), user=make_user(), account="e" * 64)
        gone.delete()
        found = statistics.report(2)
        assert (found.users, found.accounts, found.activity.total) == (2, 4, 6)

    def test_it_has_the_runs_of_the_period_newest_first(self, noon, db):
        for days in (0, 1, 2):
            RecoveryCodePurgeHistory.objects.create(
                started_at=noon - timedelta(days=days), codes_removed=days
            )
        assert [run.codes_removed for run in statistics.report(2).runs] == [0, 1]

    def test_ten_runs_are_enough(self, db):
        for _ in range(12):
            RecoveryCodePurgeHistory.objects.create()
        assert len(statistics.latest_runs()) == 10


class TestOverview:
    def test_it_is_kept_for_five_minutes(self, clock, make_user, django_assert_num_queries):
        make_user()
        first = overview(30)
        make_user()
        with django_assert_num_queries(0):
            assert overview(30) == first
        clock.shift(CACHE_SECONDS + 1)
        assert overview(30).adoption.users == 2

    def test_a_new_day_is_counted_anew(self, db):
        with time_machine.travel(NOON.replace(hour=23, minute=59), tick=False) as clock:
            assert overview(7).activity.days[-1].date.day == 31
            clock.shift(120)
            assert overview(7).activity.days[-1].date.day == 1

    def test_other_settings_are_counted_anew(self, db, settings):
        first = overview(7)
        assert overview(30) != first
        setattr(settings, FEW_SETTING, 5)
        assert overview(7).computed_at > first.computed_at

    def test_nothing_in_the_cache_names_anybody(self, user, codes, monkeypatch):
        kept = {}
        monkeypatch.setattr(cache, "set", lambda key, value, timeout: kept.update({key: value}))
        overview(30)
        [(key, value)] = kept.items()
        assert key.startswith("recovery_backend:statistics:")
        assert not any(word in repr((key, value)) for word in (user.email, user.username))
        assert {type(day) for day in value.activity.days} == {Day}

    @pytest.mark.parametrize("broken", ["get", "set"])
    def test_it_is_counted_while_the_cache_is_down(self, user, monkeypatch, caplog, broken):
        def fail(*args, **kwargs):
            raise ConnectionError("secret-host")

        monkeypatch.setattr(cache, broken, fail)
        assert overview(30).adoption.users == 1
        assert "ConnectionError" in caplog.text
        assert "secret-host" not in caplog.text

    def test_what_is_no_overview_is_counted_anew(self, user):
        overview(30)
        cache.set(cache_key(30), {"adoption": "forged"})
        assert overview(30).adoption.users == 1
