"""When a schedule is due: on the calendar of the site, over changes of clocks and short months."""

from __future__ import annotations

import calendar
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recovery_backend.schedules import ScheduleType, next_after

ZONES = ("UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
RECURRING = [kind for kind in ScheduleType if kind != ScheduleType.ONCE]
MONTHLY = {ScheduleType.MONTHLY: 1, ScheduleType.QUARTERLY: 3, ScheduleType.YEARLY: 12}

moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
# Here each of these zones changes its clocks in one night or the other.
nights = st.builds(
    lambda day, minutes: datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day, minutes=minutes),
    st.integers(0, 260),
    st.integers(0, 24 * 60 - 1),
)
each_zone = pytest.mark.parametrize("zone", ZONES)
with_zone = hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)


@pytest.fixture
def in_zone(settings):
    def use(name):
        settings.TIME_ZONE = name
        return ZoneInfo(name)

    return use


def occurrences(first, kind, number):
    """So many of them, the first one included."""
    found = [first]
    while len(found) < number:
        found.append(next_after(first, kind, found[-1]))
    return found


def local_times(first, kind, number, zone):
    return [f"{it.astimezone(zone):%Y-%m-%d %H:%M}" for it in occurrences(first, kind, number)]


@pytest.mark.parametrize("kind", ScheduleType)
def test_before_its_beginning_the_first_is_next(kind):
    first = datetime(2026, 1, 31, 3, tzinfo=UTC)
    assert next_after(first, kind, first - timedelta(days=400)) == first
    assert next_after(first, kind, first - timedelta.resolution) == first


def test_once_is_once():
    first = datetime(2026, 1, 31, 3, tzinfo=UTC)
    assert next_after(first, ScheduleType.ONCE, first) is None
    assert next_after(first, ScheduleType.ONCE, first + timedelta(days=9)) is None


def test_the_31st_comes_back_after_a_shorter_month():
    first = datetime(2027, 12, 31, 3, tzinfo=UTC)
    assert [f"{it:%m-%d}" for it in occurrences(first, ScheduleType.MONTHLY, 8)] == [
        *("12-31", "01-31", "02-29", "03-31", "04-30", "05-31", "06-30", "07-31")
    ]


def test_a_quarter_counts_months():
    first = datetime(2026, 8, 31, 3, tzinfo=UTC)
    assert [f"{it:%y-%m-%d}" for it in occurrences(first, ScheduleType.QUARTERLY, 4)] == [
        *("26-08-31", "26-11-30", "27-02-28", "27-05-31")
    ]


def test_the_29th_of_february_comes_back_in_leap_years():
    first = datetime(2024, 2, 29, 3, tzinfo=UTC)
    assert [f"{it:%y-%m-%d}" for it in occurrences(first, ScheduleType.YEARLY, 5)] == [
        *("24-02-29", "25-02-28", "26-02-28", "27-02-28", "28-02-29")
    ]


@pytest.mark.parametrize(
    ("zone", "before_both"),
    [
        ("Europe/Paris", datetime(2026, 3, 20)),
        ("America/New_York", datetime(2026, 3, 1)),
        ("Australia/Lord_Howe", datetime(2026, 3, 25)),
    ],
)
def test_three_in_the_morning_stays_so_over_both_changes_of_clocks(in_zone, zone, before_both):
    site = in_zone(zone)
    first = before_both.replace(hour=3, tzinfo=site)
    found = occurrences(first, ScheduleType.DAILY, 260)
    assert {f"{it.astimezone(site):%H:%M}" for it in found} == {"03:00"}
    steps = {later - earlier for earlier, later in pairwise(found)}
    assert len(steps) == 3, "a longer day, a shorter one, and all the others"


def test_an_hour_that_does_not_exist_is_the_one_after(in_zone):
    site = in_zone("Europe/Paris")
    first = datetime(2026, 3, 28, 2, 30, tzinfo=site)
    assert local_times(first, ScheduleType.DAILY, 3, site) == [
        *("2026-03-28 02:30", "2026-03-29 03:30", "2026-03-30 02:30")
    ]


def test_half_an_hour_that_does_not_exist_is_the_one_after(in_zone):
    site = in_zone("Australia/Lord_Howe")
    first = datetime(2026, 10, 3, 2, 15, tzinfo=site)
    assert local_times(first, ScheduleType.DAILY, 3, site) == [
        *("2026-10-03 02:15", "2026-10-04 02:45", "2026-10-05 02:15")
    ]


@pytest.mark.parametrize("kind", [ScheduleType.DAILY, ScheduleType.WEEKLY])
def test_an_hour_that_exists_twice_is_due_once(in_zone, kind):
    site = in_zone("Europe/Paris")
    days = 1 if kind == ScheduleType.DAILY else 7
    first = datetime(2026, 10, 25 - days, 2, 30, tzinfo=site)
    found = occurrences(first, kind, 3)
    assert [f"{it.astimezone(site):%d %H:%M}" for it in found][1] == "25 02:30"
    assert found[1].astimezone(UTC).hour == 0, "the first of the two"
    assert found[2] - found[1] == timedelta(days=days, hours=1)


@pytest.mark.parametrize("kind", [ScheduleType.DAILY, ScheduleType.MONTHLY])
def test_what_began_in_the_second_of_two_hours_skips_none_later(in_zone, kind):
    site = in_zone("Europe/Paris")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=site, fold=1)
    found = occurrences(first, kind, 13)
    assert found[0] == first
    assert {f"{it.astimezone(site):%H:%M}" for it in found} == {"02:30"}


def test_hours_are_hours_over_a_change_of_clocks(in_zone):
    site = in_zone("America/New_York")
    for day in (datetime(2026, 3, 7), datetime(2026, 10, 31)):
        found = occurrences(day.replace(tzinfo=site), ScheduleType.HOURLY, 72)
        assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(hours=1)}


@pytest.mark.parametrize("kind", RECURRING)
def test_a_site_without_time_zones_has_one_clock(settings, kind):
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Paris"
    first = datetime(2026, 1, 31, 2, 30)
    found = occurrences(first, kind, 40)
    assert {it.tzinfo for it in found} == {None}
    assert {it.minute for it in found} == {30}
    if kind != ScheduleType.HOURLY:
        assert {it.hour for it in found} == {2}


@each_zone
@given(first=nights, kind=st.sampled_from(RECURRING), after=st.integers(0, 400 * 24 * 3600))
@with_zone
def test_the_next_one_is_later_and_nothing_is_left_out(in_zone, zone, first, kind, after):
    in_zone(zone)
    moment = first + timedelta(seconds=after)
    found = next_after(first, kind, moment)
    assert found > moment
    # It is the next one for each moment until then, and then it is over.
    assert next_after(first, kind, found - timedelta.resolution) == found
    assert next_after(first, kind, moment + (found - moment) / 2) == found
    assert next_after(first, kind, found) > found


@each_zone
@given(first=nights, kind=st.sampled_from(RECURRING))
@with_zone
def test_they_strictly_increase(in_zone, zone, first, kind):
    in_zone(zone)
    found = occurrences(first, kind, 30)
    assert all(earlier < later for earlier, later in pairwise(found))


@each_zone
@given(first=moments, kind=st.sampled_from(list(MONTHLY)), after=st.integers(0, 30 * 365))
@with_zone
def test_months_keep_the_day_or_take_the_last_one(in_zone, zone, first, kind, after):
    site = in_zone(zone)
    found = next_after(first, kind, first + timedelta(days=after)).astimezone(site)
    began = first.astimezone(site)
    last_day = calendar.monthrange(found.year, found.month)[1]
    assert found.day == min(began.day, last_day)
    assert (found.year * 12 + found.month - began.year * 12 - began.month) % MONTHLY[kind] == 0


@each_zone
@pytest.mark.parametrize("kind", RECURRING)
def test_the_far_future_is_near(in_zone, zone, kind):
    in_zone(zone)
    first = datetime(1970, 1, 31, 2, 30, tzinfo=UTC)
    started = time.perf_counter()
    for year in range(2000, 9000, 250):
        moment = datetime(year, 6, 1, tzinfo=UTC)
        assert moment < next_after(first, kind, moment) <= moment + timedelta(days=367)
    assert time.perf_counter() - started < 5
