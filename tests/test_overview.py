"""The security overview: a page of counts for administrators, and its charts."""

from __future__ import annotations

import re
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone, translation
from hypothesis import given
from hypothesis import strategies as st

from recovery_backend.admin import charts
from recovery_backend.admin.charts import Series, column_chart
from recovery_backend.audit import Event, Outcome, Reason, RecoveryCodeAudit
from recovery_backend.models import RecoveryCodeCleanUpScheduler, RecoveryCodePurgeHistory
from tests.conftest import WRONG_CODE

URL = "/admin/recovery_backend/recoverycodeoverview/"
SVG = re.compile(r"<svg class=\"recovery-chart\".*?</svg>", re.DOTALL)
FIRST = date(2026, 1, 1)


def words(response):
    """The text of the page, without tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


@pytest.fixture
def staff(make_user, make_browser):
    """The browser of an administrator with these permissions."""

    def make(*permissions, **fields):
        user = make_user(is_staff=True, **fields)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        assert user.user_permissions.count() == len(permissions)
        return make_browser(user)

    return make


@pytest.fixture
def viewer(staff):
    return staff("view_recoverycodeoverview")


def add_events(number, event=Event.LOGIN_SUCCESS, reason="", **fields):
    outcome = Outcome.REFUSED if reason else Outcome.DONE
    RecoveryCodeAudit.objects.bulk_create(
        RecoveryCodeAudit(event=event, outcome=outcome, reason=reason, **fields)
        for _ in range(number)
    )


class TestPermission:
    """R-108"""

    def test_its_own_permission_is_needed_and_enough(self, staff, viewer):
        assert viewer.get(URL).status_code == 200
        others = staff("view_recoverycodebatch", "view_recoverycodeaudit")
        assert others.get(URL).status_code == 403

    def test_users_who_are_no_staff_sign_in_first(self, browser):
        response = browser.get(URL)
        assert (response.status_code, response.url.split("?")[0]) == (302, "/admin/login/")

    def test_the_index_leads_to_it(self, viewer, staff):
        assert URL in viewer.get("/admin/").content.decode()
        assert URL not in staff("view_recoverycodebatch").get("/admin/").content.decode()

    @pytest.mark.parametrize("path", ["add/", "1/", "1/change/", "1/delete/", "1/history/"])
    def test_there_is_nothing_to_edit(self, staff, path):
        assert staff(is_superuser=True).get(URL + path).status_code == 404

    def test_it_is_only_read(self, staff):
        assert staff(is_superuser=True).post(URL, {"action": "x"}).status_code == 405

    def test_no_copy_of_it_is_kept(self, viewer):
        assert "no-store" in viewer.get(URL)["Cache-Control"]


class TestPage:
    def test_it_says_who_has_codes(self, viewer, codes):
        page = words(viewer.get(URL))
        assert "2 active users." in page
        assert "at most 3 codes left 1" in page
        assert "no codes 1" in page

    def test_it_counts_what_was_recorded(self, viewer, user, codes, try_code):
        try_code(user.email, codes[0])
        try_code(user.email, codes[0])
        try_code(user.email, WRONG_CODE)
        page = words(viewer.get(URL))
        assert "sign-ins: 1" in page
        assert "failures: 2" in page
        assert "codes generated: 1" in page
        assert "used before 1" in page and "no such code 1" in page

    @pytest.mark.parametrize(
        ("query", "days"),
        [("", 30), ("?days=7", 7), ("?days=90", 90), ("?days=8", 30), ("?days=%00", 30)],
    )
    def test_the_period_is_one_of_three(self, viewer, query, days):
        response = viewer.get(URL + query)
        assert len(response.context["activity"].days) == days
        assert f'<a href="?days={days}" aria-current="page">' in response.content.decode()

    def test_events_before_the_period_are_left_out(self, viewer, codes):
        RecoveryCodeAudit.objects.all()._raw_delete("default")
        add_events(3, at=timezone.now() - timedelta(days=20))
        assert viewer.get(f"{URL}?days=7").context["activity"].total == 0
        assert "Nothing was recorded in this period." in words(viewer.get(f"{URL}?days=7"))
        assert viewer.get(URL).context["activity"].total == 3

    def test_a_site_without_codes_is_told_so(self, viewer):
        response = viewer.get(URL)
        assert "Nobody has recovery codes" in words(response)
        assert not SVG.search(response.content.decode())

    def test_runs_say_what_they_did(self, viewer):
        RecoveryCodePurgeHistory.objects.create(codes_removed=7, has_more=True)
        RecoveryCodePurgeHistory.objects.create(kind="audit", error="OperationalError")
        page = words(viewer.get(URL))
        assert "7 codes removed; there is more to do" in page
        assert "Failed: OperationalError." in page
        assert "nothing to do" not in page

    def test_schedules_that_do_not_run_are_said_first(self, viewer):
        due = timezone.now() - timedelta(days=1)
        RecoveryCodeCleanUpScheduler.objects.create(name="Nightly", run_at=due, next_run=due)
        page = words(viewer.get(URL))
        assert "Schedules that do not run" in page
        assert "“Nightly”" in page

    def test_it_names_nobody_and_shows_no_code(self, viewer, user, codes, try_code):
        """R-106"""
        try_code(user.email, codes[0])
        page = viewer.get(URL).content.decode()
        assert user.email not in page
        assert not any(code in page for code in codes)

    def test_it_asks_the_database_little(self, viewer, django_assert_max_num_queries):
        add_events(20)
        viewer.get("/admin/")
        with django_assert_max_num_queries(15):
            viewer.get(URL)

    def test_it_has_no_inline_script_or_style(self, viewer, codes):
        """R-93"""
        page = viewer.get(URL).content.decode()
        assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\ssrc=)", page)

    def test_other_languages_write_numbers_their_way_but_not_in_geometry(self, viewer, codes):
        add_events(1234)
        with translation.override("de"):
            page = viewer.get(URL, headers={"Accept-Language": "de"}).content.decode()
        for picture in SVG.findall(page):
            for _name, value in re.findall(r' (x|y|width|height|x1|y1)="([^"]*)"', picture):
                float(value)


class TestLinks:
    def test_they_lead_to_filtered_tables(self, staff, codes):
        browser = staff(
            "view_recoverycodeoverview",
            "view_recoverycodeaudit",
            "view_recoverycodebatch",
            "view_recoverycodepurgehistory",
        )
        add_events(2, Event.LOGIN_FAIL, Reason.UNKNOWN)
        add_events(3, at=timezone.now() - timedelta(days=20))
        links = browser.get(f"{URL}?days=7").context["links"]
        rows = {
            name: browser.get(link.url).context["cl"].result_count for name, link in links.items()
        }
        assert rows == {"refusals": 2, "events": 3, "batches": 1, "runs": 0}

    def test_tables_that_may_not_be_viewed_are_not_linked(self, viewer, codes):
        response = viewer.get(URL)
        assert response.context["links"] == {}
        assert reverse("admin:recovery_backend_recoverycodeaudit_changelist") not in str(
            response.content
        )


class TestChartMarkup:
    @pytest.fixture
    def pictures(self, viewer, codes):
        add_events(3, Event.LOGIN_FAIL, Reason.UNKNOWN)
        add_events(2, Event.LOGIN_THROTTLED, Reason.COOLDOWN)
        page = viewer.get(f"{URL}?days=7").content.decode()
        return [ElementTree.fromstring(picture) for picture in SVG.findall(page)]  # noqa: S314

    def test_each_picture_has_a_name_and_a_description(self, pictures):
        """R-139"""
        assert len(pictures) == 3
        for picture in pictures:
            ids = {element.get("id") for element in picture}
            assert picture.get("role") == "img"
            assert set(picture.get("aria-labelledby").split()) <= ids
            assert picture.find("title").text
        [_sign_ins, failures, _generated] = pictures
        assert failures.find("desc").text.startswith("failures: 3. refused while waiting: 2. Most")

    def test_series_differ_in_more_than_colour(self, pictures):
        """R-135"""
        boxes = {rect.get("class"): rect.get("fill") for rect in pictures[1].findall("rect")}
        assert boxes == {
            "recovery-series-0": None,
            "recovery-series-1": "url(#recovery-failures-hatch)",
        }

    def test_the_figures_stand_below_as_a_table(self, viewer, codes):
        """R-139"""
        add_events(3, Event.LOGIN_FAIL, Reason.UNKNOWN)
        page = viewer.get(f"{URL}?days=7").content.decode()
        figures = re.findall(r"<details.*?</details>", page, re.DOTALL)
        assert [table.count('<th scope="row">') for table in figures] == [7, 7, 7]
        [_sign_ins, failures, _generated] = figures
        cells = re.findall(r'<td class="recovery-number">(\d+)</td>', failures)
        assert cells[:2] == ["3", "0"] and set(cells[2:]) == {"0"}


counts = st.integers(0, 10**18)


@st.composite
def drawn_charts(draw):
    number_of_days = draw(st.sampled_from([1, 2, 7, 30, 90]))
    days = [FIRST + timedelta(days=number) for number in range(number_of_days)]
    numbers = st.lists(counts, min_size=number_of_days, max_size=number_of_days)
    series = [Series(f"series {n}", draw(numbers)) for n in range(draw(st.integers(1, 2)))]
    with translation.override(draw(st.sampled_from(["en", "de", "ja", "pt-br", "ar"]))):
        return column_chart("name", "Title", days, series)


class TestGeometry:
    @given(drawn_charts())
    def test_everything_is_inside_the_picture(self, chart):
        for column in chart.columns:
            assert chart.left <= column.x and column.x + column.width <= chart.width
            assert column.y >= charts.TOP - 0.02
            assert column.y + column.height <= charts.BOTTOM + 0.02
            assert column.width > 0 and column.height >= 0
        for label in [*chart.labels, *(tick.label for tick in chart.ticks)]:
            assert label.left >= 0 and label.right <= chart.width
            assert charts.FONT_SIZE / 2 <= label.y <= chart.height

    @given(drawn_charts())
    def test_no_label_touches_another_or_a_column(self, chart):
        by_place = sorted(chart.labels, key=lambda label: label.left)
        for one, next_one in zip(by_place, by_place[1:], strict=False):
            assert one.right < next_one.left
        assert all(label.y - charts.FONT_SIZE >= charts.BOTTOM for label in chart.labels)
        assert all(tick.label.right <= chart.left for tick in chart.ticks)
        heights = [tick.y for tick in chart.ticks]
        assert all(
            low - high > charts.FONT_SIZE for low, high in zip(heights, heights[1:], strict=False)
        )

    @given(drawn_charts())
    def test_each_number_that_is_not_0_has_one_column_and_they_do_not_overlap(self, chart):
        expected = sum(number > 0 for series in chart.series for number in series.numbers)
        assert len(chart.columns) == expected
        by_day = {}
        for column in chart.columns:
            below = by_day.get(column.day)
            assert below is None or abs(column.y + column.height - below.y) < 0.05
            by_day[column.day] = column

    @given(drawn_charts())
    def test_the_scale_begins_at_0_and_is_not_exceeded(self, chart):
        highest = max(map(sum, zip(*(series.numbers for series in chart.series), strict=True)))
        assert chart.peak[1] == highest
        assert 2 <= len(chart.ticks) <= charts.MAX_TICKS + 1
        assert chart.ticks[0].y == charts.BOTTOM
        assert chart.ticks[-1].y == charts.TOP

    def test_without_events_there_is_a_scale_and_no_column(self):
        chart = column_chart("name", "Title", [FIRST], [Series("none", [0])])
        assert chart.columns == []
        assert [tick.label.text for tick in chart.ticks] == ["0", "1"]
        assert [label.text for label in chart.labels] == ["January 1"]
        assert chart.peak == (FIRST, 0)

    def test_days_are_named_where_there_is_room(self):
        days = [FIRST + timedelta(days=number) for number in range(30)]
        chart = column_chart("name", "Title", days, [Series("none", [0] * 30)])
        assert [label.text for label in chart.labels] == ["January 1", "January 16", "January 30"]

    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (0, "0"),
            (999, "999"),
            (9_500, "9,500"),
            (10_000, "10k"),
            (1_500_000, "1.5M"),
            (25 * 10**8, "2.5G"),
            (10**18, "1E"),
            (5 * 10**21, "5000E"),
        ],
    )
    def test_large_numbers_stay_short(self, number, text):
        assert charts.compact(number) == text

    @pytest.mark.parametrize(
        ("number", "whole", "width"),
        [(0, 9, 0), (0, 0, 0), (9, 9, 100), (1, 10**9, 1), (5, 2, 100)],
    )
    def test_a_bar_is_a_share_and_something_is_never_invisible(self, number, whole, width):
        assert charts.bar_width(number, whole) == width
