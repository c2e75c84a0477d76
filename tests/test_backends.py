from __future__ import annotations

from tests.conftest import WRONG_CODE


def test_a_code_signs_its_owner_in_once(user, codes, try_code):
    """R-21"""
    assert try_code(user.email, codes[0]) == user
    assert try_code(user.email, codes[0]) is None


def test_a_wrong_code_signs_nobody_in(user, codes, try_code):
    assert try_code(user.email, WRONG_CODE) is None
