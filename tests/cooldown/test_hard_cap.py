"""HARD_CAP closes an account to codes; who opens it again, and how."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta

import pytest
from django.core import mail
from django.db import OperationalError

from recovery_backend import cooldown
from recovery_backend.cooldown import RecoveryCodeCooldown
from tests.cooldown.conftest import CHANGELIST, OWNER_NETWORK, networks
from tests.owner import usable


class TestHardCap:
    """R-52"""

    CAP = 7

    @pytest.fixture(autouse=True)
    def capped(self, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = self.CAP

    @pytest.fixture
    def close(self, user, codes, fail):
        def close(number=self.CAP):
            for address in itertools.islice(networks(), number):
                fail(user.email, 1, address)

        return close

    def test_it_closes_at_exactly_that_number(self, user, codes, close, try_code):
        close(self.CAP - 1)
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user
        close(self.CAP)
        assert try_code(user.email, codes[1], OWNER_NETWORK) is None
        assert usable(user) == 2

    def test_every_failure_up_to_it_is_looked_at_and_none_after(self, close, events):
        close(self.CAP + 5)
        failed, *rest = [list(group) for _, group in itertools.groupby(events(reason="unknown"))]
        assert len(failed) == self.CAP and not rest
        assert events(event="recovery.login.suspended") == [("login.suspended", "")]
        assert events(reason="closed") == [("login.throttled", "closed")]

    def test_the_owner_is_told_once(
        self, user, close, settings, django_capture_on_commit_callbacks
    ):
        """R-40"""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
        with django_capture_on_commit_callbacks(execute=True):
            close(self.CAP + 5)
        [message] = mail.outbox
        assert message.to == [user.email]
        assert "closed" in message.subject

    def test_it_stays_closed(self, user, codes, close, try_code, clock, make_request):
        close()
        clock.shift(timedelta(days=365))
        request = make_request(OWNER_NETWORK)
        assert try_code(user.email, codes[0], request=request) is None
        assert request.recovery_wait_seconds == 3600
        assert usable(user) == 3

    def test_other_accounts_stay_open(self, close, make_user, make_codes, try_code):
        close()
        other = make_user()
        assert try_code(other.email, make_codes(other)[0], OWNER_NETWORK) == other

    def test_a_password_still_signs_in(self, user, close, client):
        """R-61"""
        close()
        response = client.post("/password/", {"username": "owner", "password": "correct horse"})
        assert response.status_code == 302
        assert client.session["_auth_user_id"] == str(user.pk)

    def test_a_new_batch_opens_it(self, user, close, make_codes, try_code):
        close()
        assert try_code(user.email, make_codes(user)[0], OWNER_NETWORK) == user

    def test_a_new_batch_before_it_closes_keeps_the_count(self, user, close, make_codes, try_code):
        """R-64"""
        close(self.CAP - 1)
        plain_codes = make_codes(user)
        close(1)
        assert try_code(user.email, plain_codes[0], OWNER_NETWORK) is None

    def test_a_sign_in_by_password_opens_it(self, user, codes, close, client, try_code, events):
        close()
        client.post("/password/", {"username": "owner", "password": "wrong"})
        assert try_code(user.email, codes[0], OWNER_NETWORK) is None
        client.post("/password/", {"username": "owner", "password": "correct horse"})
        assert events()[-1] == ("cooldown.cleared", "")
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user

    def test_a_sign_in_by_password_never_fails_because_of_us(
        self, user, close, client, monkeypatch, caplog
    ):
        """R-61"""

        def broken(*args):
            raise OperationalError("disk full")

        close()
        monkeypatch.setattr(cooldown, "open_account", broken)
        response = client.post("/password/", {"username": "owner", "password": "correct horse"})
        assert response.status_code == 302
        assert client.session["_auth_user_id"] == str(user.pk)
        assert "account not opened: OperationalError" in caplog.text

    def test_somebody_elses_sign_in_does_not_open_it(
        self, user, codes, close, client, make_user, try_code, events
    ):
        close()
        client.force_login(make_user())
        assert try_code(user.email, codes[0], OWNER_NETWORK) is None
        assert ("cooldown.cleared", "") not in events()

    def test_a_sign_in_by_code_has_nothing_to_open(
        self, user, codes, post_code, statements, settings, events
    ):
        post_code(user.email, codes[0])
        with statements() as queries:
            assert post_code(user.email, codes[1]).status_code == 302
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = None
        with statements() as queries_without_cap:
            assert post_code(user.email, codes[2]).status_code == 302
        cooldowns, cooldowns_without_cap = (
            sum("recoverycodecooldown" in sql for sql in log)
            for log in (queries, queries_without_cap)
        )
        assert cooldowns == cooldowns_without_cap
        assert ("cooldown.cleared", "") not in events()

    @pytest.mark.parametrize("spelling", ["owner@example.com", " OWNER@Example.com "])
    def test_an_admin_opens_it(
        self, user, codes, close, admin_client, admin_user, try_code, spelling
    ):
        close()
        page = admin_client.get(CHANGELIST, {"q": spelling})
        keys = re.findall(r'name="_selected_action" value="([0-9a-f]{64})"', page.text)
        assert len(keys) == self.CAP + 1
        chosen = {"action": "clear", "_selected_action": keys[:1], "post": "yes"}
        response = admin_client.post(CHANGELIST, chosen, follow=True)
        assert "1 account may try again." in response.text
        assert not RecoveryCodeCooldown.objects.exists()
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user

    def test_what_the_admin_did_is_recorded(self, user, close, admin_client, admin_user, events):
        close()
        key = cooldown.account_key(user.email)
        chosen = {"action": "clear", "_selected_action": [key], "post": "yes"}
        admin_client.post(CHANGELIST, chosen)
        assert events(actor=admin_user) == [("cooldown.cleared", "")]
