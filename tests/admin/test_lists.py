"""The lists of the admin: search, filters, limits, and whatever an address may ask for."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recovery_backend import flows
from recovery_backend.admin import lists
from recovery_backend.audit import Event, Reason
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeDesk,
    RecoveryCodeEmailLog,
    RecoveryCodeOverview,
    RecoveryCodePurgeHistory,
    RecoveryCodeSetup,
)
from tests.admin.conftest import TABLES, rows, url


class TestSearch:
    @pytest.mark.parametrize(
        "model", [RecoveryCodeBatch, RecoveryCode, RecoveryCodeSetup, RecoveryCodeEmailLog]
    )
    def test_a_user_is_found_by_name_and_whole_address(self, model, site, user, admin_client):
        for term in (user.username, user.email, "  OWNER@example.com "):
            assert rows(admin_client.get(url(model), {"q": term}))
        for term in ("own", "owner@", "example.com", "%", "nobody@example.com"):
            assert not rows(admin_client.get(url(model), {"q": term}))

    @pytest.mark.parametrize("model", [RecoveryCodeBatch, RecoveryCode, RecoveryCodeEmailLog])
    def test_a_batch_is_found_by_its_id(self, model, site, admin_client):
        found = rows(admin_client.get(url(model), {"q": str(site.public_id)}))
        assert len(found) == model.objects.count()
        assert not rows(admin_client.get(url(model), {"q": str(uuid.uuid4())}))

    def test_the_audit_knows_owners_and_administrators(self, site, user, admin_user, admin_client):
        flows.clear_cooldown("x", actor=admin_user)
        assert rows(admin_client.get(url(RecoveryCodeAudit), {"q": user.username}))
        found = rows(admin_client.get(url(RecoveryCodeAudit), {"q": admin_user.username}))
        assert [row.event for row in found] == [Event.COOLDOWN_CLEARED]

    def test_the_audit_knows_an_address_that_is_nobodys(self, try_code, admin_client):
        assert try_code("nobody@example.com", "no code") is None
        found = rows(admin_client.get(url(RecoveryCodeAudit), {"q": "Nobody@Example.com"}))
        assert [row.reason for row in found] == [Reason.MALFORMED]
        assert not rows(admin_client.get(url(RecoveryCodeAudit), {"q": "else@example.com"}))


class TestFilters:
    def test_a_link_narrows_to_one_user(self, site, user, make_user, make_codes, admin_client):
        other = make_user()
        make_codes(other)
        for model in (RecoveryCodeBatch, RecoveryCode, RecoveryCodeAudit):
            page = admin_client.get(url(model))
            assert f'href="{url(model)}?user={other.pk}"' in page.text
            found = rows(admin_client.get(url(model), {"user": other.pk}))
            assert {row.user_id for row in found} == {other.pk}

    @pytest.mark.parametrize("value", ["0", "x", "99999999999999999999999"])
    def test_a_user_who_does_not_exist_has_no_rows(self, value, site, admin_client):
        assert rows(admin_client.get(url(RecoveryCodeBatch), {"user": value})) == []

    def test_users_are_chosen_by_typing_where_users_may_be_seen(self, site, make_staff):
        allowed = make_staff("view_recoverycodebatch", "view_user")
        assert "admin-autocomplete" in allowed.get(url(RecoveryCodeBatch)).text
        other = make_staff("view_recoverycodebatch")
        assert "admin-autocomplete" not in other.get(url(RecoveryCodeBatch)).text

    @pytest.mark.parametrize(
        ("model", "field"),
        [
            (RecoveryCodeBatch, "issued_at"),
            (RecoveryCode, "retired_at"),
            (RecoveryCodeAudit, "at"),
            (RecoveryCodeEmailLog, "queued_at"),
            (RecoveryCodePurgeHistory, "started_at"),
        ],
    )
    def test_periods_and_days(self, model, field, site, admin_client):
        row = model.objects.exclude(**{field: None}).first()
        today = timezone.localdate()

        def found(value):
            shown = rows(admin_client.get(url(model), {"period": value}))
            return row in shown

        def happened(days_ago):
            moment = timezone.now() - timedelta(days=days_ago)
            model._base_manager.filter(pk=row.pk).update(**{field: moment})

        happened(0)
        assert [found(days) for days in ("1", "7", "", "junk")] == [True] * 4
        happened(6)
        assert [found(days) for days in ("1", "7", "30")] == [False, True, True]
        happened(7)
        assert [found(days) for days in ("7", "30", "90")] == [False, True, True]
        assert found((today - timedelta(days=7)).isoformat())
        assert not found((today - timedelta(days=6)).isoformat())
        assert not found((today - timedelta(days=8)).isoformat())

    def test_the_forms_keep_the_other_filters(self, site, admin_client):
        page = admin_client.get(url(RecoveryCodeAudit), {"event__exact": "x", "q": "y", "p": "1"})
        form = page.text.split('class="recovery-filter"')[1].split("</form>")[0]
        kept = re.findall(r'<input type="hidden" name="(\w+)"', form)
        assert set(kept) == {"event__exact", "q"}

    def test_codes_of_one_batch(self, site, user, make_codes, admin_client):
        make_codes(user)
        page = admin_client.get(url(RecoveryCodeBatch, "change", site.pk)).text
        link = f"{url(RecoveryCode)}?batch={site.pk}"
        assert f'href="{link}"' in page
        assert {code.batch_id for code in rows(admin_client.get(link))} == {site.pk}


def test_a_day_that_never_was_narrows_nothing(site, admin_client):
    found = rows(admin_client.get(url(RecoveryCodeAudit), {"period": "2026-02-30"}))
    assert len(found) == RecoveryCodeAudit.objects.count()


def test_a_list_counts_and_pages_no_further_than_its_limit(site, admin_client, monkeypatch):
    monkeypatch.setattr(lists, "MAX_LISTED", 2)
    page = admin_client.get(url(RecoveryCode))
    assert page.context["cl"].result_count == 2
    assert "Only the first 2 rows" in page.text
    monkeypatch.setattr(lists, "MAX_LISTED", 4)
    assert "Only the first" not in admin_client.get(url(RecoveryCode)).text


PERIODS = {
    RecoveryCodeBatch: "issued_at",
    RecoveryCode: "retired_at",
    RecoveryCodeAudit: "at",
    RecoveryCodeEmailLog: "queued_at",
    RecoveryCodePurgeHistory: "started_at",
}
EDGES = ["0001-01-01", "0001-01-02", "1899-12-31", "1900-01-01", "2999-12-31", "9999-12-31"]


@pytest.mark.services
@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("day", EDGES)
def test_a_day_at_the_end_of_time_is_answered(day, zone, site, admin_client, settings):
    settings.TIME_ZONE = zone
    for model in PERIODS:
        assert admin_client.get(url(model), {"period": day}).status_code == 200


ODD_TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.integers().map(str),
    st.dates().map(str),
    st.dates().map(lambda day: f"{day:%G-W%V-%u}"),
    st.from_regex(r"\A\d{1,4}-\d{1,2}-\d{1,2}\Z"),
    st.sampled_from(["9" * 19, "-" + "9" * 19, str(2**63), "9" * 5000, "\0", "x" * 100_000]),
)
NAMES = ["user", "batch", "period", "q", "p", "o", "e", "all", "days", "_to_field", "_popup"]


@pytest.mark.services
@given(
    model=st.sampled_from([*TABLES, RecoveryCodeOverview, RecoveryCodeDesk]),
    parameters=st.dictionaries(st.sampled_from(NAMES), ODD_TEXTS, max_size=3),
)
@example(model=RecoveryCodeAudit, parameters={"period": "9999-12-31"})
@example(model=RecoveryCodeSetup, parameters={"user": str(2**63)})
@example(model=RecoveryCode, parameters={"batch": str(2**63)})
@example(model=RecoveryCodeAudit, parameters={"q": "\0"})
@hypothesis_settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_parameter_of_an_address_is_an_error_of_ours(model, parameters, admin_client):
    """R-104: what Django knows to be no filter is a bad request, and no user is not found."""
    answer = admin_client.get(url(model), parameters)
    assert answer.status_code in {200, 302, 400, 404}
