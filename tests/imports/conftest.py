"""The codes of the owner in the package that the journeys are about."""

from __future__ import annotations

import pytest


@pytest.fixture
def theirs(user, source):
    return source.make(user)
