"""Static tokens of django-otp, made by its own command, and what they are worth afterwards."""

from __future__ import annotations

import io
import logging
import os
import signal
import time

import pytest
from django.db import OperationalError, connection
from django.views.debug import ExceptionReporter
from django_otp import devices_for_user, match_token
from django_otp.plugins.otp_static.lib import add_static_token
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken

from recovery_backend import audit, flows, imports
from recovery_backend.codes import PresentedCode
from recovery_backend.imports import django_otp, source_of
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.signals import codes_generated
from tests.imports.command import counts, counts_of, ours, run
from tests.test_canary import every_cell
from tests.test_races import together


class Terminal(io.StringIO):
    def isatty(self):
        return True


pytestmark = pytest.mark.django_db(transaction=True)

OTP = "django-otp"


def test_a_token_that_was_used_without_a_lock_is_not_moved(user, make_tokens, monkeypatch):
    """R-21: nothing of that user is, until the next run."""
    used, *_others = make_tokens(user)
    adopt = django_otp.adopt

    def adopt_late(*args, **kwargs):
        adopted = adopt(*args, **kwargs)
        assert StaticToken.objects.filter(token=used).delete()[0] == 1
        return adopted

    monkeypatch.setattr(django_otp, "adopt", adopt_late)
    assert counts(OTP)["unreadable"] == 1
    assert not RecoveryCode.objects.exists()


@pytest.fixture
def make_tokens():
    def make(user, number=3):
        return [add_static_token(user.username).token for _ in range(number)]

    return make


@pytest.fixture
def tokens(user, make_tokens):
    return make_tokens(user)


def use(user, token):
    return flows.use_at_step(None, user, PresentedCode(token))


def held():
    return list(StaticToken.objects.order_by("pk").values_list("token", flat=True))


class TestPrintedTokens:
    def test_they_go_on_working_once_each_as_the_second_step(self, user, tokens):
        """R-21"""
        run(OTP)
        assert [use(user, tokens[0]), use(user, tokens[0]), use(user, tokens[1])] == [1, 0, 1]

    def test_they_leave_the_other_table_and_lie_nowhere_in_clear(self, user, tokens):
        """R-10"""
        tables = {table for table, cell in every_cell() if tokens[0].encode() in cell}
        assert tables == {"otp_static_statictoken"}
        run(OTP)
        assert not [table for table, cell in every_cell() for t in tokens if t.encode() in cell]
        assert match_token(user, tokens[0]) is None

    def test_used_ones_stay_used(self, user, tokens):
        assert match_token(user, tokens[0])
        assert counts(OTP)["codes"] == 2
        assert not use(user, tokens[0]) and use(user, tokens[1])

    def test_they_do_not_sign_in_with_the_address(self, user, tokens, post_code, client):
        """They are too short for that."""
        run(OTP)
        assert post_code(user.email, tokens[0]).status_code == 200
        assert "_auth_user_id" not in client.session
        assert use(user, tokens[0])

    def test_their_owner_can_end_one_on_the_dashboard(self, user, tokens, browser):
        run(OTP)
        assert browser.send_json("recovery_invalidate", recovery_code=tokens[0]).status_code == 200
        assert not use(user, tokens[0]) and use(user, tokens[1])

    def test_nobody_else_can_use_them(self, user, tokens, make_user):
        run(OTP)
        assert not use(make_user(), tokens[0]) and use(user, tokens[0])

    def test_codes_of_an_inactive_owner_come_too_and_are_refused(self, user, tokens, events):
        """R-23"""
        user.is_active = False
        user.save()
        assert counts(OTP)["codes"] == 3
        assert not use(user, tokens[0])
        assert ("mfa.fallback_fail", "inactive") in events()

    def test_who_has_codes_of_ours_keeps_them(self, user, tokens, make_codes, post_code):
        mine = make_codes(user)
        run(OTP)
        batch = RecoveryCodeBatch.objects.get()
        assert batch.number_issued == 6 and batch.codes_left() == 6
        assert use(user, tokens[0]) and post_code(user.email, mine[0]).status_code == 302

    def test_tokens_of_several_devices_and_of_any_writing(self, user, tokens):
        add_static_token(user.username, "AbCd-1234")
        StaticDevice.objects.create(user=user, name="safe").token_set.create(token="4711 0815")
        assert counts(OTP)["codes"] == 5
        assert use(user, "AbCd-1234") and use(user, "47110815")
        assert not use(user, "abcd-1234")

    def test_the_owner_sees_when_they_were_made(self, user, tokens):
        made_at = StaticDevice.objects.get().created_at
        run(OTP)
        assert RecoveryCodeBatch.objects.get().issued_at == made_at

    def test_a_device_that_was_never_confirmed_opens_nothing(self, user, tokens):
        StaticDevice.objects.update(confirmed=False)
        assert not list(devices_for_user(user))
        assert counts(OTP) == counts_of()
        assert held() == tokens


class TestAnswer:
    def test_it_counts_them_as_weak_and_says_that_no_step_asks_for_them(self, tokens):
        out, _err, code = run(OTP)
        first, second = out.splitlines()
        assert first == "Moved in: 1 user, 3 usable codes, 0 ended codes." and code == 0
        assert "Weak: 3." in second and '"recovery_backend_allauth"' in second

    def test_a_dry_run_counts_the_same_and_changes_nothing(
        self, user, tokens, make_user, make_tokens, statements
    ):
        make_tokens(make_user())
        add_static_token(user.username, "§§")
        expected = {"seen": 2, "users": 2, "codes": 6, "weak": 6, "unreadable": 1}
        with statements() as said:
            answer = counts(OTP, dry_run=True)
        assert answer == counts_of(**expected, is_dry_run=True)
        assert said and not [sql for sql in said if not sql.startswith("SELECT")]
        assert run(OTP, dry_run=True)[0].startswith("Would be moved in: 2 users,")
        assert counts(OTP) == counts_of(**expected)

    def test_a_page_at_a_time_with_a_bar_for_who_waits(self, make_user, make_tokens):
        for _number in range(3):
            make_tokens(make_user())
        source = source_of(OTP)
        assert imports.run(source, source.look, page_size=2).seen == 3
        assert "[##############################] 100%" in run(OTP, stderr=Terminal())[1]

    def test_a_second_run_changes_nothing(self, user, tokens):
        run(OTP)
        use(user, tokens[0])
        before = ours()
        assert counts(OTP) == counts_of()
        assert ours() == before

    def test_neither_does_a_backup_of_the_other_table_that_comes_back(self, user, tokens):
        rows = list(StaticToken.objects.all())
        run(OTP)
        use(user, tokens[0])
        before = ours()
        StaticToken.objects.bulk_create(rows)
        assert counts(OTP, dry_run=True) == counts_of(seen=1, is_dry_run=True)
        assert counts(OTP) == counts_of(seen=1)
        assert ours() == before and held() == [] and not use(user, tokens[0])

    def test_what_cannot_be_read_is_left_and_named_by_its_owner_only(self, user, tokens, caplog):
        add_static_token(user.username, "p@ss wörd")
        out, err, code = run(OTP)
        assert code == 1 and "cannot be read: 1" in out
        assert f"user={user.pk}: rows=1" in caplog.text
        assert "wörd" not in out + err + caplog.text and held() == ["p@ss wörd"]
        assert use(user, tokens[0])

    def test_it_tells_no_token(self, user, tokens, caplog):
        """R-119"""
        caplog.set_level(logging.DEBUG)
        said = "".join(map(str, run(OTP, dry_run=True) + run(OTP)))
        assert not [token for token in tokens if token in said + caplog.text]


class TestStopping:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_a_signal_waits_for_the_user_at_hand(self, make_user, make_tokens, number, code):
        owners = [make_user() for _ in range(3)]
        printed = [make_tokens(owner)[0] for owner in owners]

        def stop(**kwargs):
            os.kill(os.getpid(), number)

        codes_generated.connect(stop)
        try:
            _out, err, ended = run(OTP)
        finally:
            codes_generated.disconnect(stop)
        assert ended == code and "Until then: 1 user, 3 usable codes" in err
        assert RecoveryCode.objects.count() == 3 and StaticToken.objects.count() == 6
        assert counts(OTP) == counts_of(seen=2, users=2, codes=6, weak=6)
        assert all(use(*pair) for pair in zip(owners, printed, strict=True))

    def test_a_failure_in_the_middle_of_a_user_undoes_that_user(self, tokens, monkeypatch):
        def fail(*entries):
            raise RuntimeError(tokens[0])

        monkeypatch.setattr(audit, "record", fail)
        assert counts(OTP) == counts_of(seen=1, unreadable=1)
        assert held() == tokens and ours() == [[], [], []]

    def test_a_database_that_is_gone_stops_it(self, tokens, monkeypatch):
        def fail(*entries):
            raise OperationalError

        monkeypatch.setattr(audit, "record", fail)
        with pytest.raises(OperationalError):
            run(OTP)
        assert held() == tokens


@pytest.mark.parametrize(
    "holder",
    [
        "recovery_backend.codes.stored_short_form",
        "recovery_backend.models.adopted._stored",
        "recovery_backend.models.adopted.audit.record",
        "recovery_backend.imports.django_otp._moved",
    ],
)
def test_a_fault_leaves_no_code_in_its_report_and_moves_nothing(tokens, monkeypatch, holder):
    """R-84"""

    def fail(*args, **kwargs):
        raise OperationalError

    before = list(StaticToken.objects.order_by("pk").values())
    monkeypatch.setattr(holder, fail)
    with pytest.raises(OperationalError) as caught:
        run(OTP)
    below_this_test = caught.tb.tb_next  # which holds them
    report = ExceptionReporter(None, caught.type, caught.value, below_this_test)
    text = report.get_traceback_text() + report.get_traceback_html()
    assert "_take" in text
    assert not [secret for secret in tokens if secret in text]
    assert list(StaticToken.objects.order_by("pk").values()) == before and ours() == [[], [], []]


@pytest.mark.services
def test_a_token_that_is_used_meanwhile_works_once(make_user, make_tokens):
    """R-21: accepted by django-otp or by us, and by one of them only, in every round."""
    accepted = []
    for number in range(30 if connection.vendor != "sqlite" else 8):
        user = make_user()
        token = make_tokens(user)[0]

        def work(position, user=user, token=token, number=number):
            if position == 0:
                time.sleep(number % 5 * 0.01)  # so that each of them is the first at times
                source_of(OTP).take(user)
                return False
            try:
                return (match_token if position == 1 else use)(user, token)
            except OperationalError:  # django-otp on SQLite: "database is locked"
                assert connection.vendor == "sqlite"
                return False

        results = [bool(result) for result in together(3, work)]
        results.append(use(user, token))
        assert sum(results) == 1
        accepted.append(results[1])
    if connection.vendor != "sqlite":
        assert any(accepted)


@pytest.mark.services
def test_two_runs_at_once_move_each_token_once(make_user, make_tokens):
    for _round in range(10):
        user = make_user()
        make_tokens(user, 5)
        moved = together(2, lambda position, user=user: source_of(OTP).take(user).codes)
        assert sorted(moved) == [0, 5]
        assert RecoveryCode.objects.filter(user=user).count() == 5
        assert RecoveryCodeBatch.objects.get(user=user).number_issued == 5
