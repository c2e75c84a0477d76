"""The batch that an action names: one's own and active, or a 404 that is always the same."""

from __future__ import annotations

import uuid

import pytest
from django.urls import reverse

from recovery_backend import flows
from recovery_backend.exceptions import NotTheirs
from recovery_backend.models import RecoveryCodeBatch
from tests.conftest import JSON
from tests.owner import active, rows

FOR_A_BATCH = ["recovery_download", "recovery_email", "recovery_delete_all", "recovery_saved"]


class TestBatchId:
    """R-97"""

    @pytest.fixture
    def ids(self, make_user, make_codes):
        other = make_user()
        make_codes(other)
        theirs = RecoveryCodeBatch.objects.get(user=other)
        return {
            "foreign": str(theirs.public_id),
            "foreign key": str(theirs.pk),
            "unknown": str(uuid.uuid4()),
            "garbage": "x",
            "number": "0",
            "negative": "-1",
            "long": "a" * 10_000,
            "nul": "\x00",
            "letters": "ⅷ" * 32,
            "path": "../../etc/passwd",
        }

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("name", FOR_A_BATCH)
    def test_foreign_unknown_and_garbage_are_the_same_404(
        self, generated, ids, name, headers, events
    ):
        before, bodies = rows(), set()
        for batch in ids.values():
            data = {"batch": batch, "confirm": "on"}
            response = generated.post(reverse(name), data, headers=headers)
            assert response.status_code == 404
            bodies.add(response.content)
        assert len(bodies) == 1
        assert rows() == before
        assert events().count(("authz.denied", "foreign")) == 1

    def test_somebody_who_tries_on_is_recorded_once_an_hour(
        self, user, generated, make_user, make_browser, clock, events
    ):
        """R-122"""
        other = make_user()
        for _ in range(5):
            generated.send("recovery_delete_all", batch="x")
            make_browser(other).send("recovery_delete_all", batch="x")
        assert events(user=user)[-1:] == events(user=other) == [("authz.denied", "foreign")]
        assert events().count(("authz.denied", "foreign")) == 2
        clock.shift(3600)
        generated.send("recovery_delete_all", batch="x")
        assert events().count(("authz.denied", "foreign")) == 3

    @pytest.mark.parametrize(
        "cache_class", ["test_backends.BrokenCache", "cooldown.conftest.ForgetfulCache"]
    )
    def test_with_a_broken_cache_it_is_rather_recorded_too_often(
        self, user, codes, make_request, settings, events, cache_class
    ):
        settings.CACHES = {"default": {"BACKEND": f"tests.{cache_class}"}}
        request = make_request()
        request.user = user
        for _ in range(2):
            with pytest.raises(NotTheirs):
                flows.active_batch(request, "x")
        assert events().count(("authz.denied", "foreign")) == 2

    @pytest.mark.parametrize("name", FOR_A_BATCH)
    def test_ones_own_older_batch_is_a_problem_and_changes_nothing(self, user, browser, name):
        browser.generate()
        old = str(active(user).public_id)
        browser.generate()
        before = rows()
        answer = browser.send_json(name, batch=old, confirm="on")
        assert (answer.status_code, answer.json()["code"]) == (400, "NoActiveBatch")
        browser.send(name, batch=old, confirm="on")
        assert list(browser.open().context["problems"]) == [name.removeprefix("recovery_")]
        assert rows() == before

    @pytest.mark.parametrize("name", FOR_A_BATCH)
    def test_the_active_batch_is_meant_by_name_or_by_none(self, user, generated, name):
        data = {"batch": str(active(user).public_id)}
        assert generated.send(name, **data, confirm="on").status_code in {200, 302}
        assert "problems" in generated.open().context
        assert not generated.open().context["problems"]
