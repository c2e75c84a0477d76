"""What the dashboard says of the codes that are left."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from recovery_backend.models import RecoveryCodeBatch
from tests.conftest import DASHBOARD


class TestDashboard:
    @pytest.fixture
    def dashboard(self, user, client):
        def dashboard():
            client.force_login(user)
            return client.get(DASHBOARD).text

        return dashboard

    def test_without_codes_it_says_so(self, dashboard):
        assert "You have no codes yet" in dashboard()

    def test_it_says_who_is_in_and_how_many_are_left(self, user, make_codes, dashboard, try_code):
        plain_codes = make_codes(user, number_of_codes=10)
        try_code(user.email, plain_codes[0])
        text = dashboard()
        assert user.email in text
        assert re.search(r"<strong>9</strong>\s+of 10 codes left", text)
        assert "running low" not in text
        assert not any(code in text for code in plain_codes)

    @pytest.mark.parametrize(("left", "is_low"), [(4, False), (3, True), (1, True)])
    def test_it_warns_when_few_are_left(self, user, make_codes, dashboard, left, is_low):
        """R-41"""
        make_codes(user, number_of_codes=left)
        assert ("running low" in dashboard()) is is_low

    def test_the_warning_is_a_setting(self, user, make_codes, dashboard, settings):
        make_codes(user, number_of_codes=4)
        settings.DJANGO_AUTH_RECOVERY_CODES_LOW_CODES_WARNING = 4
        assert "running low" in dashboard()
        settings.DJANGO_AUTH_RECOVERY_CODES_LOW_CODES_WARNING = 0
        assert "running low" not in dashboard()

    def test_it_says_when_none_is_left(self, user, make_codes, dashboard, try_code):
        [code] = make_codes(user, number_of_codes=1)
        try_code(user.email, code)
        assert "no codes left" in dashboard()

    def test_it_says_when_they_have_expired(self, user, make_codes, dashboard, clock):
        make_codes(user, days_to_expire=1)
        assert "have expired" not in dashboard()
        clock.shift(timedelta(days=1))
        assert "have expired" in dashboard()

    def test_other_peoples_codes_do_not_show(self, user, make_user, make_codes, dashboard):
        """R-97"""
        make_codes(make_user())
        assert "You have no codes yet" in dashboard()

    def test_an_old_batch_does_not_count(self, user, make_codes, dashboard):
        make_codes(user, number_of_codes=10)
        make_codes(user, number_of_codes=5)
        assert re.search(r"<strong>5</strong>\s+of 5 codes left", dashboard())
        assert RecoveryCodeBatch.objects.count() == 2

    def test_an_account_without_an_address_shows_its_name(self, user, dashboard):
        user.email = ""
        user.save()
        assert "owner" in dashboard()
