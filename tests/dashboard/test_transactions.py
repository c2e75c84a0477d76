"""Actions and looks where each request is a transaction."""

from __future__ import annotations

import pytest
from django.db import connection

from recovery_backend import history
from recovery_backend.cooldown import RecoveryCodeCooldown
from tests.conftest import WRONG_CODE
from tests.dashboard.conftest import ACTIONS
from tests.owner import usable


@pytest.mark.django_db(transaction=True)
class TestAtomicRequests:
    """What was counted, changed and recorded outlives an error later in the request."""

    @pytest.fixture(autouse=True)
    def atomic_requests(self, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    def test_every_action_works(self, user, browser):
        browser.codes = browser.generate()
        for name in [*(name for name in ACTIONS if name != "recovery_delete_all"), ACTIONS[-1]]:
            response = browser.send(name, confirm="on", recovery_code=browser.codes[0])
            assert response.status_code in {200, 302}
        assert usable(user) == 0

    def test_a_look_holds_no_transaction_open(self, browser, monkeypatch):
        """On SQLite ten looks at once would be locked out of the one view, with a 500."""
        browser.send("recovery_generate")
        held = []
        overview_of = history.overview_of

        def watched(user):
            held.append(connection.in_atomic_block)
            return overview_of(user)

        monkeypatch.setattr(history, "overview_of", watched)
        assert browser.open().context["plaintext"].codes
        assert held == [False]

    def test_a_charge_outlives_an_error(self, user, make_codes, make_browser, monkeypatch):
        """R-51"""
        make_codes(user)
        browser = make_browser(user)

        def broken(*args, **kwargs):
            raise RuntimeError("a fault after the charge")

        monkeypatch.setattr("recovery_backend.views.actions.ActionView.problem", broken)
        browser.raise_request_exception = False
        assert browser.send("recovery_verify_setup", recovery_code=WRONG_CODE).status_code == 500
        assert RecoveryCodeCooldown.objects.filter(failures=1).count() == 2

    def test_a_generation_outlives_an_error(self, user, browser, monkeypatch):
        def broken(*args, **kwargs):
            raise RuntimeError("a fault after the change")

        monkeypatch.setattr("recovery_backend.views.actions.ActionView.done", broken)
        browser.raise_request_exception = False
        assert browser.send("recovery_generate").status_code == 500
        assert usable(user) == 10
