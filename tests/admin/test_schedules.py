"""Schedules in the admin: their forms, running them now, and how they stand."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import Schedule

from recovery_backend import runs
from recovery_backend.models import (
    RecoveryCodeAudit,
    RecoveryCodePurgeHistory,
)
from recovery_backend.schedules import queue
from tests.admin.conftest import SCHEDULERS, cell, told, url


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
