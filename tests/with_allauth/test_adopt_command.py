"""`adopt_allauth_recovery_codes`: printed codes go on working, used ones stay used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.core.management import CommandError
from django.db import OperationalError, connection
from django.urls import reverse
from django.utils import timezone
from recovery_backend_allauth import adoption, marker

from recovery_backend import flows, imports
from recovery_backend.codes import PresentedCode
from recovery_backend.history import overview_of
from recovery_backend.imports import Moved
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeSetup,
)
from tests.commands import Terminal, call
from tests.imports.command import counts_of, ours
from tests.test_races import together
from tests.with_allauth.conftest import AUTHENTICATE, add_passkey, add_totp
from tests.with_allauth.test_adoption import Adapter, left_of

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parent.parent.parent
COMMAND = "adopt_allauth_recovery_codes"


def run(**options):
    """What it wrote, what it wrote as errors, and its exit code."""
    return call(COMMAND, **options)


def counts(**options):
    return json.loads(run(json=True, **options)[0])


def data_of(user):
    return Authenticator.objects.get(user=user, type="recovery_codes").data


def seed_of(user):
    return data_of(user)["seed"]


@pytest.fixture
def make_owner(make_user):
    """A user with TOTP and allauth's own codes, of which the first ones are used: both."""

    def make(used=0):
        user = make_user()
        add_totp(user)
        stock = RecoveryCodes.activate(user)
        codes = stock.generate_codes()
        assert all(stock.validate_code(code) for code in codes[:used])
        return user, codes

    return make


class TestPrintedCodes:
    def test_they_go_on_working_once_each(self, make_owner, before_step):
        user, codes = make_owner()
        run()
        assert before_step(user).post(AUTHENTICATE, {"code": codes[7]}).status_code == 302
        assert before_step(user).post(AUTHENTICATE, {"code": codes[7]}).status_code == 200
        assert before_step(user).post(AUTHENTICATE, {"code": codes[8]}).status_code == 302

    def test_used_ones_stay_used(self, make_owner, before_step, events):
        user, codes = make_owner(used=2)
        run()
        assert before_step(user).post(AUTHENTICATE, {"code": codes[1]}).status_code == 200
        assert ("mfa.fallback_fail", "used") in events()
        assert RecoveryCode.objects.filter(user=user, status="used").count() == 2

    def test_they_do_not_sign_in_with_the_address(self, make_owner, post_code, client):
        user, codes = make_owner()
        run()
        assert post_code(user.email, codes[0]).status_code == 200
        assert "_auth_user_id" not in client.session
        assert RecoveryCode.objects.usable().of_user(user).count() == 10

    def test_no_seed_is_left(self, make_owner):
        """R-10."""
        user, codes = make_owner(used=1)
        seed = seed_of(user)
        assert left_of(seed) == {"mfa_authenticator"}
        run()
        assert left_of(seed, *codes) == set()

    def test_nor_on_the_administrators_page_of_the_row(self, make_owner, make_user, client):
        user, _codes = make_owner()
        seed = seed_of(user)
        row = Authenticator.objects.get(user=user, type="recovery_codes")
        page = reverse("admin:mfa_authenticator_change", args=[row.pk])
        client.force_login(make_user(is_staff=True, is_superuser=True))
        assert seed in client.get(page).content.decode()
        run()
        after = client.get(page)
        assert after.status_code == 200 and seed not in after.content.decode()

    def test_codes_from_another_package_before_allauth(self, make_user, before_step):
        """`migrated_codes`: those that are left are unused."""
        user = make_user()
        add_totp(user)
        data = {"migrated_codes": ["abcd-efgh", "ijklmnop"]}
        Authenticator.objects.create(user=user, type="recovery_codes", data=data)
        assert counts()["codes"] == 2
        assert left_of("abcd-efgh", "abcdefgh", "ijklmnop") == set()
        assert before_step(user).post(AUTHENTICATE, {"code": "abcd-efgh"}).status_code == 302

    def test_an_adapter_that_encrypts_is_asked_to_decrypt(self, make_owner, before_step, settings):
        settings.MFA_ADAPTER = f"{Adapter.__module__}.Adapter"
        user, codes = make_owner(used=1)
        assert seed_of(user).startswith("locked:")
        assert counts() == counts_of(seen=1, users=1, codes=9, weak=9, ended=1)
        assert before_step(user).post(AUTHENTICATE, {"code": codes[1]}).status_code == 302

    def test_a_list_that_is_used_up(self, make_owner):
        user, codes = make_owner(used=10)
        seed = seed_of(user)
        assert counts() == counts_of(seen=1, users=1, ended=10)
        assert left_of(seed) == set()
        assert not Authenticator.objects.filter(user=user, type="recovery_codes").exists()

    def test_the_owner_sees_when_they_were_made(self, make_owner):
        user, _codes = make_owner()
        made_at = timezone.now() - timedelta(days=400)
        Authenticator.objects.filter(user=user).update(created_at=made_at)
        run()
        assert RecoveryCodeBatch.objects.get(user=user).issued_at == made_at

    def test_taking_over_is_no_answer_to_support(self, make_owner):
        """Who was asked for new codes is asked still."""
        user, _codes = make_owner()
        RecoveryCodeSetup.require_new_batch(user)
        run()
        assert overview_of(user).required_at is not None


class TestBesideOurs:
    def test_nobody_loses_anything(self, make_owner, make_codes, before_step):
        user, codes = make_owner()
        # As it was before this package looked after the row.
        data = Authenticator.objects.get(user=user, type="recovery_codes").data
        ours = make_codes(user)
        Authenticator.objects.filter(user=user, type="recovery_codes").update(data=data)
        run()
        batch = RecoveryCodeBatch.objects.get(user=user, status="active")
        assert batch.number_issued == 13 and batch.codes_left() == 13
        assert before_step(user).post(AUTHENTICATE, {"code": codes[0]}).status_code == 302
        assert before_step(user).post(AUTHENTICATE, {"code": ours[0]}).status_code == 302

    def test_the_same_codes_again_change_nothing(self, make_owner):
        user, codes = make_owner(used=3)
        row = Authenticator.objects.get(user=user, type="recovery_codes")
        data = dict(row.data)
        run()
        flows.use_at_step(None, user, PresentedCode(codes[5]))
        before = list(RecoveryCode.objects.order_by("pk").values())
        # A backup of allauth's table, in which code 5 is not used yet, comes back.
        Authenticator.objects.filter(pk=row.pk).update(data=data)
        assert counts() == counts_of(seen=1)
        assert list(RecoveryCode.objects.order_by("pk").values()) == before
        assert RecoveryCodeBatch.objects.get().number_issued == 10
        assert RecoveryCodeAudit.objects.filter(event="recovery.batch.adopted").count() == 1


class TestAnswer:
    def test_it_says_what_was_taken_over(self, make_owner):
        make_owner(used=1)
        make_owner(used=2)
        out, err, code = run()
        assert out.splitlines()[0] == "Moved in: 2 users, 17 usable codes, 3 ended codes."
        assert (
            out.splitlines()[1] == "Weak: 17. They are short, so they work at a second step only."
        )
        assert (err, code) == ("", 0)

    def test_a_second_run_changes_nothing(self, make_owner):
        user, _codes = make_owner(used=1)
        run()
        before = ours(), data_of(user)
        assert counts() == counts_of(seen=1)
        assert counts(dry_run=True) == counts_of(seen=1, is_dry_run=True)
        assert (ours(), data_of(user)) == before

    def test_it_is_the_import_from_allauth_by_another_name(self, make_owner):
        """R-10, R-21"""
        user, codes = make_owner(used=1)
        assert json.loads(call("import_recovery_codes", source="allauth", json=True)[0]) == (
            counts_of(seen=1, users=1, codes=9, weak=9, ended=1)
        )
        assert left_of(*codes) == set() and counts() == counts_of(seen=1)

    def test_a_dry_run_counts_and_changes_nothing(self, make_owner, statements):
        user, _codes = make_owner(used=1)
        before = Authenticator.objects.get(user=user, type="recovery_codes").data
        with statements() as said:
            answer = counts(dry_run=True)
        expected = {"seen": 1, "users": 1, "codes": 9, "weak": 9, "ended": 1}
        assert answer == counts_of(**expected, is_dry_run=True)
        assert said and not [sql for sql in said if not sql.startswith("SELECT")]
        assert Authenticator.objects.get(user=user, type="recovery_codes").data == before
        assert run(dry_run=True)[0].startswith("Would be moved in: 1 user,")

    def test_who_has_no_other_factor_loses_nothing(self, make_user):
        user = make_user()
        codes = RecoveryCodes.activate(user).generate_codes()
        assert counts()["codes"] == 10
        assert not Authenticator.objects.filter(user=user).exists()
        add_passkey(user)
        assert marker.is_marker(Authenticator.objects.get(user=user, type="recovery_codes"))
        assert flows.use_at_step(None, user, PresentedCode(codes[0]))

    def test_a_row_that_cannot_be_read_is_left_and_named_in_the_log(self, make_owner, caplog):
        (broken, _), (user, _codes) = make_owner(), make_owner()
        row = Authenticator.objects.filter(user=broken, type="recovery_codes")
        row.update(data={"used_mask": 0})
        out, _err, code = run()
        assert code == 1 and "Moved in: 1 user," in out and "cannot be read: 1" in out
        assert f"user={broken.pk}: KeyError" in caplog.text
        assert row.get().data == {"used_mask": 0}
        assert RecoveryCode.objects.usable().of_user(user).count() == 10

    def test_so_is_one_with_a_code_that_we_could_not_take(self, make_user):
        user = make_user()
        data = {"migrated_codes": ["abcdefgh", "p@ss wörd"]}
        row = Authenticator.objects.create(user=user, type="recovery_codes", data=data)
        assert counts() == counts_of(seen=1, unreadable=1)
        row.refresh_from_db()
        assert row.data == data and not RecoveryCode.objects.exists()

    def test_a_bar_is_drawn_for_who_waits(self, make_owner):
        make_owner()
        _out, err, _code = run(stderr=Terminal())
        assert "[##############################] 100%" in err

    def test_a_site_is_refused_where_no_code_would_work(self, make_owner, settings):
        user, _codes = make_owner()
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
        with pytest.raises(CommandError, match="LOGIN_MODE"):
            run()
        assert adoption.is_stock(Authenticator.objects.get(user=user, type="recovery_codes"))


class TestStopping:
    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
    )
    def test_a_signal_waits_for_the_user_at_hand(self, make_owner, monkeypatch, number, code):
        for _number in range(3):
            make_owner()
        stock = adoption.take_over

        def take(pk):
            adopted = stock(pk)
            os.kill(os.getpid(), number)
            return adopted

        monkeypatch.setattr(adoption, "take_over", take)
        _out, err, ended = run()
        assert ended == code and "Until then: 1 user, 10 usable codes" in err
        monkeypatch.undo()
        assert counts() == counts_of(seen=3, users=2, codes=20, weak=20)

    def test_a_failure_in_the_middle_of_a_user_undoes_that_user(self, make_owner, monkeypatch):
        user, _codes = make_owner()
        before = Authenticator.objects.get(user=user, type="recovery_codes").data

        def fail(user):
            raise RuntimeError

        monkeypatch.setattr(marker, "sync", fail)
        assert counts()["unreadable"] == 1
        assert Authenticator.objects.get(user=user, type="recovery_codes").data == before
        assert not RecoveryCode.objects.exists() and not RecoveryCodeBatch.objects.exists()

    def test_it_is_a_command_of_the_project(self):
        done = subprocess.run(
            [sys.executable, "-m", "django", COMMAND, "--help"],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.with_allauth.settings"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "--dry-run" in done.stdout


def test_memory_holds_a_page_and_not_the_table(django_user_model):
    seen = []

    def step(user):
        seen.append(user.pk)
        return Moved()

    def peak(number):
        names = (f"{number}-{position}" for position in range(number))
        users = django_user_model.objects.bulk_create(
            django_user_model(username=name, first_name="x" * 150) for name in names
        )
        Authenticator.objects.bulk_create(
            Authenticator(user=user, type="recovery_codes", data={}) for user in users
        )
        del users
        tracemalloc.start()
        imports.run(replace(imports.source_of("allauth"), take=step), page_size=10)
        _size, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small, large = peak(20), peak(480)
    assert len(seen) == 20 + 500 and len(set(seen)) == 500
    assert large < 4 * small


@pytest.mark.services
def test_a_code_that_allauth_accepts_meanwhile_is_not_revived(make_owner):
    """R-21: accepted by allauth or by us, and by one of them only, in every round."""
    accepted = []
    for _round in range(30 if connection.vendor != "sqlite" else 8):
        user, codes = make_owner()
        pk = Authenticator.objects.get(user=user, type="recovery_codes").pk

        def work(position, user=user, code=codes[0], pk=pk):
            if position:
                adoption.take_over(pk)
                return False
            row = Authenticator.objects.get(pk=pk)
            try:
                return row.wrap().validate_code(code)
            except OperationalError:  # stock allauth on SQLite: "database is locked"
                assert connection.vendor == "sqlite"
                return False

        first = any(together(2, work))
        again = flows.use_at_step(None, user, PresentedCode(codes[0]))
        assert first + again == 1
        accepted.append(first)
    if connection.vendor != "sqlite":
        assert any(accepted)
