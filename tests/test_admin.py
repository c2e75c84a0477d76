"""The admin's tables: what they show and hide, who may do what, and how they are read."""

from __future__ import annotations

import re
import uuid
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from django_q.models import Schedule
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recovery_backend import audit, flows, runs
from recovery_backend.admin import lists
from recovery_backend.audit import Event, Reason
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeAuditScheduler,
    RecoveryCodeAuditSeal,
    RecoveryCodeBatch,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeCooldown,
    RecoveryCodeDesk,
    RecoveryCodeEmailLog,
    RecoveryCodeOverview,
    RecoveryCodePurgeHistory,
    RecoveryCodeReminderScheduler,
    RecoveryCodeSetup,
)
from recovery_backend.schedules import queue

SCHEDULERS = [
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeAuditScheduler,
    RecoveryCodeReminderScheduler,
]
READ_ONLY = [
    RecoveryCodeBatch,
    RecoveryCode,
    RecoveryCodeSetup,
    RecoveryCodeAudit,
    RecoveryCodeAuditSeal,
    RecoveryCodePurgeHistory,
    RecoveryCodeEmailLog,
    RecoveryCodeCooldown,
]
TABLES = [*READ_ONLY, *SCHEDULERS]


def url(model, name="changelist", *arguments):
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{name}", args=arguments)


def cell(response, name):
    """What a list of one row says in a column."""
    found = re.search(rf"field-{name}\b[^>]*>(.*?)</td>", response.text, re.DOTALL)[1]
    return re.sub(r"<[^>]+>", "", found).strip()


def rows(response):
    """The rows of a list."""
    return list(response.context["cl"].result_list)


def seal_of(number):
    return RecoveryCodeAuditSeal(
        number=number,
        first_row=number,
        last_row=number,
        row_digests="ROWDIGESTS",
        digest="d" * 64,
        key_id="k1d-k1d-k1d",
    )


@pytest.fixture
def site(user, codes, try_code):
    """Something in every table."""
    now = timezone.now()
    assert try_code(user.email, codes[0])
    batch = RecoveryCodeBatch.objects.get()
    RecoveryCodeBatch.objects.update(sealed="CIPHERTEXT")
    RecoveryCodeSetup.objects.create(user=user, verified_at=now)
    RecoveryCodeEmailLog.objects.create(
        user=user, batch=batch.public_id, recipient=user.email, state="sent"
    )
    seal_of(1).save()
    run = RecoveryCodePurgeHistory.objects.create(
        policy_name="nightly", finished_at=now + timedelta(seconds=2), codes_removed=3
    )
    for number, model in enumerate(SCHEDULERS):
        model.objects.create(name=f"schedule {number}", last_run=run)
    return batch


@pytest.fixture
def secrets(site):
    """Everything of the tables that no page may say."""
    found = {"CIPHERTEXT", "ROWDIGESTS", "d" * 64, "k1d-k1d-k1d"}
    for code in RecoveryCode.objects.all():
        found |= {code.digest.hex, str(code.digest), bytes(code.bind).hex(), code.key_id}
    return found


@pytest.fixture
def make_staff(make_user, make_browser):
    """A browser of somebody who may enter the admin, and has these permissions."""

    def make(*codenames):
        staff = make_user(is_staff=True)
        permissions = Permission.objects.filter(codename__in=codenames)
        assert len(permissions) == len(codenames)
        staff.user_permissions.set(permissions)
        return make_browser(staff)

    return make


def view(model):
    return f"view_{model._meta.model_name}"


@pytest.mark.parametrize("model", TABLES)
class TestEveryTable:
    def test_its_pages_answer(self, model, site, admin_client):
        row = model.objects.first()
        for page in (url(model), url(model, "change", row.pk), url(model, "history", row.pk)):
            assert admin_client.get(page).status_code == 200

    def test_who_may_look_sees_rows_and_no_secret(self, model, secrets, make_staff):
        """R-20, R-105"""
        staff = make_staff(view(model))
        row = model.objects.first()
        page = staff.get(url(model))
        assert len(rows(page)) == model.objects.count()
        for text in (page.text, staff.get(url(model, "change", row.pk)).text):
            assert not [secret for secret in secrets if secret in text]
            assert 'name="action"' not in text
            assert "/add/" not in text

    def test_a_superuser_sees_no_secret_either(self, model, secrets, admin_client):
        """R-20, R-105"""
        row = model.objects.first()
        for page in (url(model), url(model, "change", row.pk), url(model, "history", row.pk)):
            text = admin_client.get(page).text
            assert not [secret for secret in secrets if secret in text]

    def test_others_are_refused(self, model, site, make_staff):
        """R-108"""
        staff = make_staff(*(view(other) for other in TABLES if other is not model))
        row = model.objects.first()
        assert staff.get(url(model)).status_code == 403
        assert staff.get(url(model, "change", row.pk)).status_code == 403

    def test_who_may_only_look_changes_nothing(self, model, site, make_staff):
        """R-108"""
        staff = make_staff(view(model))
        row = model.objects.first()
        pages = (url(model, "add"), url(model, "change", row.pk), url(model, "delete", row.pk))
        assert [staff.post(page, {"post": "yes"}).status_code for page in pages] == [403] * 3
        action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        staff.post(url(model), action)
        assert model.objects.filter(pk=row.pk).exists()

    @pytest.mark.parametrize(
        "lookup",
        [
            "digest__startswith",
            "key_id",
            "sealed__contains",
            "row_digests__contains",
            "user__password__startswith",
            "lease_token__isnull",
            "id__gt",
        ],
    )
    def test_fields_cannot_be_guessed_by_filters(self, model, lookup, site, admin_client):
        """R-105"""
        assert admin_client.get(url(model), {lookup: "a"}).status_code == 400

    @pytest.mark.parametrize("order", ["99", "-1.2.3.4.5.6.7", "x", "-"])
    def test_only_what_has_an_index_sorts(self, model, order, site, admin_client):
        """R-104"""
        page = admin_client.get(url(model), {"o": order})
        fields = [str(field).lstrip("-") for field in page.context["cl"].queryset.query.order_by]
        allowed = set(page.context["cl"].model_admin.sortable_by)
        assert set(fields) <= allowed | {"pk", "id", "key"}

    def test_a_page_costs_few_queries(self, model, site, admin_client, statements):
        with statements() as queries:
            admin_client.get(url(model))
        assert len(queries) <= 10

    def test_strange_parameters_break_nothing(self, model, site, admin_client):
        """R-104"""
        hostile = ["\0", "'", "💥", "-1", "9" * 30, "9" * 5000, "NaN", "2026-13-45", "<script>"]
        hostile += ["9999-12-31", "0001-01-01", "x" * 100_000]
        names = ["user", "batch", "period", "status__exact", "event__exact", "q", "p", "o", "all"]
        for name in names:
            for value in hostile:
                answer = admin_client.get(url(model), {name: value})
                assert answer.status_code in {200, 302, 400}, (name, value)
                assert '<script>"' not in answer.text


@pytest.mark.parametrize("model", READ_ONLY)
def test_a_superuser_cannot_make_change_or_delete_rows(model, site, admin_client):
    """R-105, R-117"""
    row = model.objects.first()
    pages = (url(model, "add"), url(model, "change", row.pk), url(model, "delete", row.pk))
    assert [admin_client.post(page, {"post": "yes"}).status_code for page in pages] == [403] * 3


@pytest.mark.parametrize("model", TABLES)
def test_no_secret_is_even_read(model, site, admin_client, statements):
    """R-20, R-105"""
    page = url(model, "change", model.objects.first().pk)
    with statements() as queries:
        admin_client.get(url(model))
        admin_client.get(page)
    for name in ("digest", "bind", "key_id", "sealed", "row_digests"):
        read = [sql for sql in queries if re.search(rf'[.]["`]{name}["`]', sql.split("WHERE")[0])]
        assert read == []


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


class TestBatches:
    def test_the_page_says_what_became_of_the_codes(self, site, admin_client):
        RecoveryCodeBatch.objects.update(number_issued=9, purged_used=4, purged_deleted=2)
        card = admin_client.get(url(RecoveryCodeBatch, "change", site.pk)).context["original"].card
        assert (card.number_issued, card.number_left, card.number_used) == (9, 2, 5)
        assert card.number_removed == 2

    def test_the_list_counts_what_can_be_used(self, site, admin_client):
        def left():
            return cell(admin_client.get(url(RecoveryCodeBatch)), "left")

        assert left() == "2 of 3"
        RecoveryCodeBatch.objects.update(expires_at=timezone.now())
        assert left() == "0 of 3"
        RecoveryCodeBatch.objects.update(expires_at=None, status="deleted")
        assert left() == "0 of 3"

    def test_links_lead_where_the_administrator_may_go(self, site, user, make_staff):
        page = make_staff("view_recoverycodebatch", "view_recoverycodeaudit").get(
            url(RecoveryCodeBatch, "change", site.pk)
        )
        targets = [link.url for link in page.context["links"]]
        assert targets == [
            f"{url(RecoveryCodeBatch)}?user={user.pk}",
            f"{url(RecoveryCodeAudit)}?user={user.pk}",
        ]
        page = make_staff("view_recoverycodebatch", "view_user").get(
            url(RecoveryCodeBatch, "change", site.pk)
        )
        assert reverse("admin:auth_user_change", args=[user.pk]) in page.text

    def test_a_site_without_users_in_its_admin_has_all_the_rest(
        self, site, admin_client, monkeypatch
    ):
        monkeypatch.delitem(admin.site._registry, get_user_model())
        assert "admin-autocomplete" not in admin_client.get(url(RecoveryCodeBatch)).text
        page = admin_client.get(url(RecoveryCodeBatch, "change", site.pk))
        assert "Account" not in [link.text for link in page.context["links"]]
        assert f"{url(RecoveryCodeAudit)}?user={site.user_id}" in page.text


def act(browser, name, *batches, **data):
    """Choose an action for some batches, as the list does."""
    chosen = {"action": name, "_selected_action": [batch.pk for batch in batches]}
    return browser.post(url(RecoveryCodeBatch), {**chosen, **data}, follow=True)


def told(response):
    return [str(message) for message in response.context["messages"]]


class TestMeasures:
    MAY = {"revoke": "revoke_recoverycodebatch", "require": "require_recoverycodebatch"}

    @pytest.mark.parametrize("name", MAY)
    def test_each_is_asked_about_first(self, name, site, user, make_staff):
        page = act(make_staff("view_recoverycodebatch", self.MAY[name]), name, site)
        assert page.context["rows"] == [(site.pk, "o•••")]
        assert "o•••" in page.text and user.username not in page.text
        assert RecoveryCode.objects.usable().count() == 2
        assert RecoveryCodeSetup.objects.get().new_batch_required_at is None

    @pytest.mark.parametrize("name", MAY)
    def test_each_has_its_own_permission(self, name, site, make_staff, events):
        """R-108"""
        before = events()
        others = {"revoke": "require_recoverycodebatch", "require": "revoke_recoverycodebatch"}
        staff = make_staff("view_recoverycodebatch", others[name], "send_emergency_code")
        assert f'value="{name}"' not in staff.get(url(RecoveryCodeBatch)).text
        act(staff, name, site, post="yes")
        assert events() == before

    def test_permission_without_sight_is_nothing(self, site, make_staff):
        """R-108"""
        staff = make_staff("revoke_recoverycodebatch")
        assert act(staff, "revoke", site, post="yes").status_code == 403

    def test_revoking_ends_the_codes_of_each_user(
        self, site, user, make_user, make_codes, make_staff, events
    ):
        """R-46"""
        other = make_user()
        make_codes(other)
        make_codes(user)
        staff = make_staff("view_recoverycodebatch", "revoke_recoverycodebatch")
        page = act(staff, "revoke", *RecoveryCodeBatch.objects.all(), post="yes")
        assert told(page) == ["Revoke all codes: 2 users."]
        assert not RecoveryCode.objects.usable().exists()
        actor = int(staff.session["_auth_user_id"])
        assert events(actor=actor) == [("code.invalidated", "")] * 2
        assert LogEntry.objects.filter(user=actor).count() == 2

    def test_new_codes_can_be_required(self, site, user, make_staff):
        staff = make_staff("view_recoverycodebatch", "require_recoverycodebatch")
        assert told(act(staff, "require", site, post="yes")) == ["Require new codes: 1 user."]
        assert RecoveryCodeSetup.objects.get(user=user).new_batch_required_at
        assert RecoveryCode.objects.usable().count() == 2

    def test_a_refusal_is_told_and_stops_nobody_else(
        self, site, make_user, make_codes, make_staff, user
    ):
        """R-108"""
        chief = make_user(is_superuser=True, is_staff=True, username="chief")
        make_codes(chief)
        ended = make_user(username="ended")
        make_codes(ended)
        RecoveryCodeBatch.objects.filter(user=ended).update(status="deleted")
        staff = make_staff("view_recoverycodebatch", "revoke_recoverycodebatch")
        page = act(staff, "revoke", *RecoveryCodeBatch.objects.all(), post="yes")
        assert sorted(told(page)) == [
            "Revoke all codes: 1 user.",
            "c•••: This user belongs to the staff. Only superusers may do this here.",
            "e•••: The user has no codes now.",
        ]
        assert RecoveryCode.objects.usable().of_user(chief).count() == 3
        assert not RecoveryCode.objects.usable().of_user(user).exists()

    def test_an_old_sign_in_revokes_nothing(self, site, admin_client, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_REAUTH_MAX_AGE = 60
        clock.shift(61)
        assert "sign out and in again" in told(act(admin_client, "revoke", site, post="yes"))[0]
        assert RecoveryCode.objects.usable().count() == 2

    def test_nobody_confirms_more_people_than_can_be_read(
        self, site, make_user, make_codes, make_staff, monkeypatch
    ):
        monkeypatch.setattr("recovery_backend.admin.measures.MAX_USERS", 1)
        make_codes(make_user())
        staff = make_staff("view_recoverycodebatch", "revoke_recoverycodebatch")
        page = act(staff, "revoke", *RecoveryCodeBatch.objects.all(), post="yes")
        assert told(page) == ["Select fewer rows, of at most 1 users. Nothing was changed."]
        assert RecoveryCode.objects.usable().count() == 5

    def test_more_rows_than_are_read_change_nothing_for_anybody(
        self, site, user, make_codes, admin_client, monkeypatch
    ):
        """Or the users of the rest would be left out without a word."""
        monkeypatch.setattr("recovery_backend.admin.measures.MAX_USERS", 1)
        monkeypatch.setattr("recovery_backend.admin.measures.ROWS_OF_A_USER", 2)
        for _number in range(2):
            make_codes(user)
        page = act(admin_client, "revoke", site, select_across="1", post="yes")
        assert "Select fewer rows" in told(page)[0]
        assert RecoveryCode.objects.usable().count() == 3

    def test_a_foreign_page_cannot_revoke(self, site, admin_user):
        """R-91"""
        from django.test import Client

        browser = Client(enforce_csrf_checks=True)
        browser.force_login(admin_user)
        assert act(browser, "revoke", site, post="yes").status_code == 403
        assert RecoveryCode.objects.usable().count() == 2


def form_of(model, **changes):
    """What the form of a new schedule sends."""
    run_at = timezone.localtime() + timedelta(days=1)
    data = {
        "name": "nightly",
        "is_enabled": "on",
        "schedule_type": "daily",
        "run_at_0": f"{run_at:%Y-%m-%d}",
        "run_at_1": "03:00:00",
        "next_run_0": "",
        "next_run_1": "",
        "retention_days": "30",
        "days_before_expiry": "14",
    }
    return {**data, **changes}


def two_fields(name, moment):
    """A moment as a form sends it."""
    moment = timezone.localtime(moment)
    return {f"{name}_0": f"{moment:%Y-%m-%d}", f"{name}_1": f"{moment:%H:%M:%S}"}


def as_shown(page):
    """What a browser sends of the form of a schedule as it is shown."""
    inputs = [dict(re.findall(r'([\w-]+)="([^"]*)"', it)) for it in inputs_of(page)]
    data = {it["name"]: it.get("value", "") for it in inputs if it.get("type") != "checkbox"}
    form = page.context["adminform"].form
    ticked = {name: "on" for name in form.fields if form[name].value() is True}
    kept = {name for name in data if name.startswith(("initial-", *form.fields))}
    chosen = {"schedule_type": form["schedule_type"].value()}
    return {name: data[name] for name in kept} | ticked | chosen


def inputs_of(page):
    return [it for it in re.findall(r"<input\b[^>]*>", page.text) if ' name="' in it]


def in_minutes(minutes):
    return timezone.now() + timedelta(minutes=minutes)


@pytest.fixture
def begun():
    """A schedule whose first run was nine days less five minutes ago."""

    def make(model):
        now = timezone.now().replace(microsecond=0)
        run_at = now - timedelta(days=9) + timedelta(minutes=5)
        next_run = now + timedelta(days=2)
        row = model.objects.create(name="nightly", run_at=run_at, next_run=next_run)
        unchanged = two_fields("run_at", run_at) | two_fields("next_run", next_run)
        return row, form_of(model, **unchanged)

    return make


@pytest.mark.parametrize("model", SCHEDULERS)
class TestSchedules:
    def test_one_is_made_changed_and_deleted_in_somebodys_name(
        self, model, admin_client, admin_user, events
    ):
        assert admin_client.post(url(model, "add"), form_of(model)).status_code == 302
        row = model.objects.get()
        assert (row.name, row.next_run) == ("nightly", row.run_at)
        assert Schedule.objects.get().args == f"({row.pk},)"
        page = url(model, "change", row.pk)
        assert admin_client.post(page, form_of(model, name="daily")).status_code == 302
        chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        admin_client.post(url(model), chosen)
        assert not Schedule.objects.exists()
        assert events(actor=admin_user) == [
            ("scheduler.created", ""),
            ("scheduler.changed", ""),
            ("scheduler.deleted", ""),
        ]
        address = RecoveryCodeAudit.objects.values_list("address", flat=True)
        assert set(address) == {"127.0.0.1"}

    def test_deleting_one_on_its_page_names_who_did(self, model, admin_client, admin_user, events):
        row = model.objects.create(name="nightly")
        admin_client.post(url(model, "delete", row.pk), {"post": "yes"})
        assert events(actor=admin_user) == [("scheduler.deleted", "")]

    def test_what_runs_is_not_for_editing(self, model, admin_client):
        """R-107"""
        extra = {
            "func": "os.system",
            "args": "('ls',)",
            "kwargs": "{'a': 1}",
            "hook": "os.remove",
            "cluster": "x",
            "lease_until_0": "2030-01-01",
            "lease_until_1": "00:00",
            "failures": "7",
            "last_run": "1",
        }
        page = admin_client.get(url(model, "add")).text
        names = set(re.findall(r'name="(\w+)"', page))
        assert not names & {*extra, "minutes", "cron", "repeats", "lease_token"}
        assert admin_client.post(url(model, "add"), form_of(model, **extra)).status_code == 302
        row, schedule = model.objects.get(), Schedule.objects.get()
        assert (row.failures, row.last_run, row.lease_until) == (0, None, None)
        assert schedule.func == queue.FUNCTIONS[model.kind]
        assert (schedule.args, schedule.kwargs, schedule.hook) == (f"({row.pk},)", None, None)
        assert schedule.cluster is None

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"name": ""}, "name"),
            ({"run_at_0": "2001-01-01"}, "run_at"),
            ({"next_run_0": "2001-01-01", "next_run_1": "00:00"}, "next_run"),
            ({"schedule_type": "never"}, "schedule_type"),
        ],
    )
    def test_a_mistake_is_named(self, model, changes, field, admin_client):
        page = admin_client.post(url(model, "add"), form_of(model, **changes))
        assert field in page.context["adminform"].form.errors
        assert not model.objects.exists()

    def test_the_first_run_is_offered_for_the_next_full_hour(self, model, admin_client):
        form = admin_client.get(url(model, "add")).context["adminform"].form
        first = form.initial["run_at"]
        assert (first.minute, first.second) == (0, 0)
        assert timedelta(minutes=10) < first - timezone.now() <= timedelta(minutes=70)

    def test_running_now_has_a_permission(self, model, make_staff):
        """R-108"""
        row = model.objects.create(name="nightly", run_at=timezone.now() + timedelta(days=1))
        chosen = {"action": "run_now", "_selected_action": [row.pk]}
        name = model._meta.model_name
        make_staff(f"view_{name}", f"change_{name}").post(url(model), chosen)
        assert model.objects.get().next_run == row.run_at
        page = make_staff(f"view_{name}", f"run_{name}").post(url(model), chosen, follow=True)
        assert told(page) == ["1 run was asked for."]
        asked_for = model.objects.get()
        assert asked_for.due_at() <= timezone.now() < asked_for.next_run == row.next_run
        asked = RecoveryCodeAudit.objects.filter(event="recovery.scheduler.changed").get()
        assert asked.actor == page.context["user"]
        assert asked.data["changes"]["next_run"][1] == "now"

    @pytest.mark.parametrize("schedule_type", ["once", "hourly"])
    @pytest.mark.parametrize("minutes", [-1, 1, 9])
    def test_a_run_within_minutes_takes_the_permission_to_run(
        self, model, schedule_type, minutes, make_staff
    ):
        """R-108: it is Run now by other means."""
        name = model._meta.model_name
        form = form_of(
            model, **two_fields("run_at", in_minutes(minutes)), schedule_type=schedule_type
        )
        page = make_staff(f"view_{name}", f"add_{name}").post(url(model, "add"), form)
        assert list(page.context["adminform"].form.errors) == ["next_run"]
        assert not model.objects.exists()
        may_run = make_staff(f"add_{name}", f"run_{name}")
        assert may_run.post(url(model, "add"), form).status_code == 302
        assert model.objects.exists()

    @pytest.mark.parametrize("fields", [["next_run"], ["run_at"], ["run_at", "next_run"]])
    def test_an_edit_takes_the_permission_to_run_within_minutes_too(
        self, model, fields, begun, make_staff
    ):
        """R-108"""
        row, form = begun(model)
        browser = make_staff(f"change_{model._meta.model_name}")
        for field in fields:
            form |= two_fields(field, in_minutes(5))
        answer = browser.post(url(model, "change", row.pk), form)
        assert list(answer.context["adminform"].form.errors) == ["next_run"]

    def test_a_run_within_minutes_cannot_be_enabled_either(self, model, begun, make_staff):
        """R-108"""
        row, form = begun(model)
        page = url(model, "change", row.pk)
        browser = make_staff(f"change_{model._meta.model_name}")
        form |= two_fields("next_run", in_minutes(5))
        del form["is_enabled"]
        assert browser.post(page, form).status_code == 302
        answer = browser.post(page, form | {"is_enabled": "on"})
        assert list(answer.context["adminform"].form.errors) == ["next_run"]
        assert not model.objects.get().is_enabled

    def test_another_timetable_cannot_hide_a_run_within_minutes(self, model, begun, make_staff):
        """R-108"""
        row, form = begun(model)
        browser = make_staff(f"change_{model._meta.model_name}")
        answer = browser.post(url(model, "change", row.pk), form | {"schedule_type": "hourly"})
        assert list(answer.context["adminform"].form.errors) == ["next_run"]
        weekly = form | {"schedule_type": "weekly"}
        assert browser.post(url(model, "change", row.pk), weekly).status_code == 302

    @pytest.mark.parametrize("minutes", [1, 60])
    def test_a_page_that_was_open_during_a_run_does_not_repeat_it(
        self, model, minutes, clock, admin_client
    ):
        """Nor is its edit refused, whose next run has passed."""
        now = timezone.now()
        row = model.objects.create(name="nightly", run_at=now + timedelta(minutes=1))
        page = url(model, "change", row.pk)
        data = as_shown(admin_client.get(page))
        clock.shift(timedelta(minutes=2))
        assert runs.run(model.kind, row.pk) == "done"
        after = model.objects.get()
        assert after.next_run == row.run_at + timedelta(days=1)
        clock.shift(timedelta(minutes=minutes))
        assert admin_client.post(page, data | {"name": "renamed"}).status_code == 302
        renamed = model.objects.get()
        assert (renamed.name, renamed.next_run) == ("renamed", after.next_run)
        assert Schedule.objects.get().next_run == after.next_run
        assert runs.run(model.kind, row.pk) == "not due"

    def test_a_next_run_that_was_set_is_kept_over_a_mistake_elsewhere(self, model, admin_client):
        row = model.objects.create(name="nightly", run_at=in_minutes(60))
        moment = timezone.now().replace(microsecond=0) + timedelta(days=3)
        page = url(model, "change", row.pk)
        shown = as_shown(admin_client.get(page)) | two_fields("next_run", moment)
        again = admin_client.post(page, shown | {"name": ""})
        assert "name" in again.context["adminform"].form.errors
        assert admin_client.post(page, as_shown(again) | {"name": "daily"}).status_code == 302
        assert model.objects.get().next_run == moment

    def test_a_next_run_that_was_emptied_follows_the_timetable(self, model, begun, admin_client):
        row, _ = begun(model)
        page = url(model, "change", row.pk)
        emptied = as_shown(admin_client.get(page)) | {"next_run_0": "", "next_run_1": ""}
        assert admin_client.post(page, emptied).status_code == 302
        assert model.objects.get().next_run == row.run_at + timedelta(days=9)

    def test_what_was_asked_for_is_taken_back_by_disabling(self, model, begun, make_staff):
        """R-108: or who may not run it now would have it run by enabling it."""
        row, _ = begun(model)
        assert runs.request_run(row)
        page = url(model, "change", row.pk)
        browser = make_staff(f"change_{model._meta.model_name}")
        data = as_shown(browser.get(page))
        answer = browser.post(page, data | {"name": "renamed"})
        assert list(answer.context["adminform"].form.errors) == ["next_run"]
        del data["is_enabled"]
        assert browser.post(page, data).status_code == 302
        assert browser.post(page, data | {"is_enabled": "on"}).status_code == 302
        assert model.objects.get().due_at() == row.next_run

    def test_one_that_is_disabled_does_not_run_now(self, model, admin_client):
        row = model.objects.create(name="nightly", is_enabled=False)
        chosen = {"action": "run_now", "_selected_action": [row.pk]}
        page = admin_client.post(url(model), chosen, follow=True)
        assert told(page) == ["nightly does not run now: it is disabled, or runs already."]

    @pytest.mark.parametrize(
        ("fields", "state"),
        [
            ({}, "fine"),
            ({"is_enabled": False}, "disabled"),
            ({"failures": 1}, "failed once"),
            ({"failures": 3}, "failed 3 times in a row"),
            ({"next_run": None}, "finished"),
            ({"next_run": in_minutes(-60)}, "overdue"),
            ({"also_due_at": in_minutes(-60)}, "overdue"),
            ({"next_run": in_minutes(-60), "failures": 1}, "failed once, overdue"),
            ({"next_run": in_minutes(-60), "failures": 3}, "failed 3 times in a row, overdue"),
            ({"lease_until": timezone.now() + timedelta(hours=9)}, "running"),
        ],
    )
    def test_the_list_says_how_it_stands(self, model, fields, state, admin_client):
        model.objects.create(name="nightly")
        model.objects.update(**fields)
        assert cell(admin_client.get(url(model)), "state") == state

    def test_the_list_says_what_the_last_run_did(self, model, site, admin_client):
        assert "3 codes removed" in admin_client.get(url(model)).text
        page = url(model, "change", model.objects.get().pk)
        assert f"{timezone.localdate():%Y}, " in admin_client.get(page).text
        RecoveryCodePurgeHistory.objects.update(error="OperationalError")
        assert "OperationalError" in admin_client.get(url(model)).text

    def test_what_stops_schedules_is_said_above_the_list(self, model, admin_client):
        Schedule.objects.create(name="of another app", func="math.copysign", args="(oops")
        page = admin_client.get(url(model))
        assert page.context["problems"] == [problem.text for problem in queue.problems()]
        assert "of another app" in page.text


def test_what_people_send_is_text(user, admin_client, make_request):
    """R-99"""
    hostile = "<script>alert(1)</script>"
    user.username = hostile
    user.save()
    entry = audit.entry(Event.LOGIN_FAIL, reason=Reason.UNKNOWN, user=user, data={"x": hostile})
    entry.user_agent = entry.path = entry.request_id = hostile
    audit.record(entry)
    RecoveryCodeBatch.create_recovery_batch(user)
    RecoveryCodeCleanUpScheduler.objects.create(name=hostile)
    RecoveryCodePurgeHistory.objects.create(policy_name=hostile)
    for model in (
        RecoveryCodeAudit,
        RecoveryCodeBatch,
        RecoveryCode,
        RecoveryCodeCleanUpScheduler,
        RecoveryCodePurgeHistory,
    ):
        row = model.objects.last()
        for page in (url(model), f"{url(model)}?user={user.pk}", url(model, "change", row.pk)):
            text = admin_client.get(page, follow=True).text
            assert hostile not in text
    question = act(admin_client, "revoke", RecoveryCodeBatch.objects.get())
    assert hostile not in question.text and "&lt;script&gt;alert(1)" in question.text


def test_a_list_counts_and_pages_no_further_than_its_limit(site, admin_client, monkeypatch):
    monkeypatch.setattr(lists, "MAX_LISTED", 2)
    page = admin_client.get(url(RecoveryCode))
    assert page.context["cl"].result_count == 2
    assert "Only the first 2 rows" in page.text
    monkeypatch.setattr(lists, "MAX_LISTED", 4)
    assert "Only the first" not in admin_client.get(url(RecoveryCode)).text


def test_the_index_of_the_admin_names_every_table(admin_client):
    page = admin_client.get(reverse("admin:index")).text
    assert not [model for model in TABLES if f'href="{url(model)}"' not in page]


FILL = """
INSERT INTO auth_user (username, email, password, first_name, last_name, is_active, is_staff,
    is_superuser, date_joined)
SELECT 'member' || n, 'member' || n || '@example.com', '', '', '', true, false, false, now()
FROM generate_series(1, 50000) n;

INSERT INTO recovery_backend_recoverycodebatch (public_id, user_id, status, issued_at, modified_at,
    number_issued, has_viewed, has_downloaded, email_state, is_emergency, purged_used,
    purged_invalidated, purged_deleted, purged_expired, expiry_note, sealed)
SELECT gen_random_uuid(), id, CASE id % 5 WHEN 1 THEN 'active' ELSE 'superseded' END,
    now() - random() * interval '200 days', now(), 10, true, false, 'none', false,
    0, 0, 0, 0, 'none', ''
FROM auth_user;

INSERT INTO recovery_backend_recoverycode (batch_id, user_id, digest, bind, key_id, is_step_only,
    status, retired_at)
SELECT b.id, b.user_id, gen_random_uuid(), ''::bytea, 'k', false, CASE b.status WHEN 'active'
    THEN 'active' ELSE 'invalidated' END, CASE b.status WHEN 'active' THEN NULL ELSE b.issued_at END
FROM recovery_backend_recoverycodebatch b, generate_series(1, 2);

INSERT INTO recovery_backend_recoverycodeaudit (at, event, outcome, reason, user_id, actor_id,
    account, user_agent, request_id, path, data)
SELECT now() - n * interval '2 minutes',
    CASE WHEN n % 10 = 0 THEN 'recovery.login.success' ELSE 'recovery.login.fail' END,
    CASE WHEN n % 10 = 0 THEN 'done' ELSE 'refused' END, '',
    CASE WHEN n % 10 = 0 THEN (SELECT min(id) FROM auth_user) + n % 10000 END,
    CASE WHEN n % 1000 = 0 THEN (SELECT min(id) FROM auth_user) + n % 7 END,
    md5(n::text), '', '', '', '{}'
FROM generate_series(1, 100000) n;

INSERT INTO recovery_backend_recoverycodeemaillog (user_id, batch, recipient, state, queued_at)
SELECT user_id, public_id, '', CASE WHEN id % 9 = 0 THEN 'failed' ELSE 'sent' END, issued_at
FROM recovery_backend_recoverycodebatch;

INSERT INTO recovery_backend_recoverycodecooldown (key, account, failures, refused, updated_at)
SELECT md5(n::text), md5((n / 2)::text), 1, 0, now() - n * interval '1 minute'
FROM generate_series(1, 50000) n;

INSERT INTO recovery_backend_recoverycodepurgehistory (kind, trigger, policy_name, started_at,
    codes_removed, batches_removed, audit_rows_removed, other_rows_removed, messages_sent,
    has_more, error)
SELECT 'codes', 'schedule', '', now() - n * interval '1 hour', 0, 0, 0, 0, 0, false, ''
FROM generate_series(1, 50000) n;

INSERT INTO recovery_backend_recoverycodesetup (user_id) SELECT id FROM auth_user;

ANALYZE;
"""


@pytest.fixture
def large_site(db, make_user):
    """Tables that are large enough for the database to mind."""
    if connection.vendor != "postgresql":
        pytest.skip("asks PostgreSQL for its plans")
    user = make_user(username="member0")
    seals = (seal_of(number) for number in range(1, 20_001))
    RecoveryCodeAuditSeal.objects.bulk_create(seals)
    with connection.cursor() as cursor:
        cursor.execute(FILL)
    return user


@pytest.fixture
def plans(db):
    """The plans of all queries of a block."""

    @contextmanager
    def explained():
        kept = []

        def explain(execute, sql, params, many, context):
            if sql.startswith("SELECT"):
                execute(f"EXPLAIN {sql}", params, many, context)
                kept.append("\n".join(line for (line,) in context["cursor"].fetchall()))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(explain):
            yield kept

    return explained


@pytest.mark.services
def test_lists_filters_and_searches_are_read_by_indexes(
    large_site, admin_client, plans, monkeypatch
):
    monkeypatch.setattr("recovery_backend.admin.records.NEWEST", 5000)
    day = (timezone.localdate() - timedelta(days=60)).isoformat()
    whole = [{}, {"p": "100"}, {"o": "1"}, {"o": "-1"}]
    periods = [{"period": value} for value in ("1", "7", "30", "90", day)]
    person = [{"user": large_site.pk + 50}, {"q": "member50"}, {"q": "member50@example.com"}]
    batch = RecoveryCodeBatch.objects.order_by("pk")[1000]
    by_batch = [{"q": str(batch.public_id)}]
    questions = {
        RecoveryCodeBatch: [*whole, *periods, *person, *by_batch]
        + [{"status__exact": "active"}, {"status__exact": "superseded", "period": "90"}],
        RecoveryCode: [*whole, *periods, *person, *by_batch, {"batch": batch.pk}],
        RecoveryCodeAudit: [*whole, *periods, *person, {"q": "admin"}, {"outcome__exact": "done"}]
        + [{"event__exact": "recovery.login.success", "period": "30"}],
        RecoveryCodeEmailLog: [*whole, *periods, *person, *by_batch, {"state__exact": "failed"}],
        RecoveryCodeCooldown: [*whole, {"q": "member50@example.com"}],
        RecoveryCodePurgeHistory: [*whole, *periods],
        RecoveryCodeSetup: [*whole, *person],
        RecoveryCodeAuditSeal: whole,
    }
    scans = []
    for model, asked in questions.items():
        for parameters in asked:
            with plans() as found:
                answer = admin_client.get(url(model), parameters)
            assert answer.status_code == 200 and len(rows(answer)) <= 50, (model, parameters)
            bad = [plan for plan in found if "Seq Scan on recovery_backend" in plan]
            scans += [f"{model.__name__} {parameters}\n{plan}" for plan in bad]
    assert not scans, "\n\n".join(scans)


@pytest.mark.services
def test_a_page_of_a_row_is_read_by_indexes(large_site, admin_client, plans):
    for model in READ_ONLY:
        row = model.objects.first()
        with plans() as found:
            assert admin_client.get(url(model, "change", row.pk)).status_code == 200
        assert not [plan for plan in found if "Seq Scan on recovery_backend" in plan]


@pytest.mark.parametrize("model", TABLES)
def test_a_row_that_is_gone_leads_back_to_the_index(model, admin_client):
    answer = admin_client.get(url(model, "change", "404"))
    assert (answer.status_code, answer.url) == (302, reverse("admin:index"))


def test_an_event_of_nobody_leads_nowhere(try_code, admin_client):
    assert try_code("nobody@example.com", "no code") is None
    row = RecoveryCodeAudit.objects.get()
    page = admin_client.get(url(RecoveryCodeAudit, "change", row.pk))
    assert page.context["links"] == []
    assert "See also" not in page.text


def test_a_day_that_never_was_narrows_nothing(site, admin_client):
    found = rows(admin_client.get(url(RecoveryCodeAudit), {"period": "2026-02-30"}))
    assert len(found) == RecoveryCodeAudit.objects.count()


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


class TestNames:
    """Names and addresses are whole for those who may view users, and for nobody else."""

    NAME = "secret.person@example.org"
    MASKED = "s•••@e•••.org"

    @pytest.fixture
    def person(self, make_user):
        return make_user(self.NAME, username=self.NAME, is_superuser=True)

    @pytest.fixture
    def rows_of(self, person, make_codes):
        """A row of the person in each table that names somebody."""
        make_codes(person)
        batch = RecoveryCodeBatch.objects.get(user=person)
        RecoveryCodeSetup.objects.create(user=person)
        RecoveryCodeEmailLog.objects.create(
            user=person, batch=batch.public_id, recipient=self.NAME, state="sent"
        )
        event = audit.entry(Event.COOLDOWN_CLEARED, user=person, actor=person)
        audit.record(event)
        return person

    OF_PEOPLE = [
        RecoveryCodeBatch,
        RecoveryCode,
        RecoveryCodeSetup,
        RecoveryCodeAudit,
        RecoveryCodeEmailLog,
    ]

    def pages(self, model, person):
        row = model.objects.filter(user=person).last()
        yield url(model)
        yield f"{url(model)}?user={person.pk}"
        yield f"{url(model)}?q={self.NAME}"
        yield url(model, "change", row.pk)

    @pytest.mark.parametrize("model", OF_PEOPLE)
    def test_who_may_look_at_a_table_only_sees_no_whole_name(self, model, rows_of, make_staff):
        staff = make_staff(view(model))
        for page in self.pages(model, rows_of):
            text = staff.get(page).text
            assert self.MASKED in text, page
            assert self.NAME not in text.replace(f'value="{self.NAME}"', ""), page

    @pytest.mark.parametrize("model", OF_PEOPLE)
    @pytest.mark.parametrize("permission", ["view_user", "change_user"])
    def test_who_may_look_at_users_sees_names_whole(self, model, permission, rows_of, make_staff):
        staff = make_staff(view(model), permission)
        for page in self.pages(model, rows_of):
            text = staff.get(page).text
            assert self.NAME in text and self.MASKED not in text, page

    @pytest.mark.parametrize("model", OF_PEOPLE)
    def test_users_without_a_row_are_not_listed_by_their_numbers(self, model, person, make_staff):
        page = make_staff(view(model)).get(url(model), {"user": person.pk})
        assert rows(page) == [] and self.NAME not in page.text

    def test_a_name_that_is_no_address_is_masked_too(self, site, user, make_staff):
        page = make_staff("view_recoverycodebatch").get(url(RecoveryCodeBatch))
        assert cell(page, "owner") == "o•••"

    def test_who_did_it_is_named_by_the_same_rule(self, rows_of, make_staff):
        page = make_staff("view_recoverycodeaudit").get(url(RecoveryCodeAudit))
        assert self.NAME not in page.text
        assert self.MASKED in re.findall(r'field-done_by">([^<]*)<', page.text)

    def test_a_question_and_a_refusal_name_users_by_the_same_rule(self, rows_of, make_staff):
        batch = RecoveryCodeBatch.objects.get(user=rows_of)
        for permissions, name in [((), self.MASKED), (("view_user",), self.NAME)]:
            staff = make_staff("view_recoverycodebatch", "revoke_recoverycodebatch", *permissions)
            assert act(staff, "revoke", batch).context["rows"] == [(batch.pk, name)]
            refused = act(staff, "revoke", batch, post="yes")
            assert told(refused)[0].startswith(f"{name}: This user belongs to the staff")


class TestDeletingUsers:
    """Django asks for a permission to delete each row that goes with a user: ours all do."""

    PAGE = "/admin/auth/user/"

    def delete(self, browser, user, how):
        if how == "on its page":
            question = browser.get(f"{self.PAGE}{user.pk}/delete/")
            return question, browser.post(f"{self.PAGE}{user.pk}/delete/", {"post": "yes"})
        chosen = {"action": "delete_selected", "_selected_action": [user.pk]}
        question = browser.post(self.PAGE, chosen)
        return question, browser.post(self.PAGE, {**chosen, "post": "yes"})

    @pytest.mark.parametrize("how", ["on its page", "in a list"])
    def test_a_superuser_deletes_a_user_with_all_their_rows(self, how, site, user, admin_client):
        number = RecoveryCodeAudit.objects.count()
        question, answer = self.delete(admin_client, user, how)
        assert (question.status_code, answer.status_code) == (200, 302)
        assert not question.context["perms_lacking"]
        assert not get_user_model().objects.filter(pk=user.pk).exists()
        assert not RecoveryCode.objects.exists() and not RecoveryCodeBatch.objects.exists()
        assert not RecoveryCodeSetup.objects.exists()
        assert not RecoveryCodeEmailLog.objects.exists()
        assert RecoveryCodeAudit.objects.filter(user=None).count() >= number

    @pytest.mark.parametrize("how", ["on its page", "in a list"])
    def test_who_may_look_at_and_delete_users_needs_no_permission_of_ours(
        self, how, site, user, make_staff
    ):
        answers = self.delete(make_staff("delete_user", "view_user"), user, how)
        assert [answer.status_code for answer in answers] == [200, 302]
        assert not get_user_model().objects.filter(pk=user.pk).exists()

    @pytest.mark.parametrize("how", ["on its page", "in a list"])
    def test_who_may_not_delete_users_is_refused(self, how, site, user, make_staff):
        self.delete(make_staff("view_user", "delete_recoverycodebatch"), user, how)
        assert get_user_model().objects.filter(pk=user.pk).exists()
        assert RecoveryCode.objects.exists()

    @pytest.mark.parametrize("model", READ_ONLY)
    def test_our_own_pages_delete_nothing_for_a_superuser(self, model, site, admin_client):
        """R-105"""
        row = model.objects.first()
        assert admin_client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        admin_client.post(url(model), chosen)
        assert model.objects.filter(pk=row.pk).exists()
        assert 'class="deletelink"' not in admin_client.get(url(model, "change", row.pk)).text
