"""Refusals are alike, whatever was wrong."""

from __future__ import annotations

import itertools

import pytest
from django.test import Client

from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models import RecoveryCode
from tests.conftest import JSON, LOGIN, WRONG_CODE
from tests.views.conftest import OURS, headers_of, masked


class TestSameAnswer:
    """R-26: nobody learns what was wrong."""

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("has_waited_for", [0, 4])
    def test_every_refusal_is_the_same(self, attempts, statements, clock, headers, has_waited_for):
        networks = (f"10.0.0.{number}" for number in itertools.count(1))
        answers, costs = set(), set()
        for email, code in attempts.values():
            RecoveryCodeCooldown.objects.all().delete()
            network = next(networks)
            client = Client(REMOTE_ADDR=network)
            for _ in range(has_waited_for):
                client.post(LOGIN, {"email": email, "recovery_code": WRONG_CODE}, headers=headers)
            with statements() as queries:
                response = client.post(
                    LOGIN, {"email": email, "recovery_code": code}, headers=headers
                )
            answers.add((response.status_code, masked(response, email), str(headers_of(response))))
            costs.add(len(queries))
        assert len(answers) == 1
        assert len(costs) == 1

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("has_middleware", [True, False])
    def test_every_refusal_while_waiting_is_the_same(
        self, attempts, settings, statements, clock, headers, has_middleware
    ):
        """R-56, R-57"""
        if not has_middleware:
            settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != OURS]
        attempts["right"] = ("owner@example.com", attempts["right code, unknown e-mail"][1])
        networks = (f"10.0.0.{number}" for number in itertools.count(1))
        answers, costs = set(), set()
        left = RecoveryCode.objects.usable().count()
        for email, code in attempts.values():
            client = Client(REMOTE_ADDR=next(networks))
            for _ in range(5):
                client.post(LOGIN, {"email": email, "recovery_code": WRONG_CODE})
            with statements() as queries:
                response = client.post(
                    LOGIN, {"email": email, "recovery_code": code}, headers=headers
                )
            answers.add((response.status_code, masked(response, email), str(headers_of(response))))
            costs.add(len(queries))
        [(status, _, _)] = answers
        assert status == 429
        assert len(costs) == 1
        assert RecoveryCode.objects.usable().count() == left
