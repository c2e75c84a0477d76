"""R-24: spellings of one address meet; look-alikes never do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery_backend.addresses import (
    MAX_LENGTH,
    canonical_email,
    is_same_email,
    masked_email,
)

OWNER = "mike@example.com"
LONGEST = "a" * (MAX_LENGTH - len("@example.com")) + "@example.com"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (OWNER, "MIKE@EXAMPLE.COM"),
        (OWNER, "  mike@example.com\n"),
        (OWNER, "Mike@Example.com"),
        (OWNER, "\u00a0mike@example.com\u3000"),
        ("jos\u00e9@example.com", "jose\u0301@example.com"),
        ("JOS\u00e9@example.com", "jose\u0301@EXAMPLE.com"),
        ("\uac00@example.com", "\u1100\u1161@example.com"),
    ],
)
def test_spellings_of_one_address_meet(one, other):
    """R-24"""
    assert is_same_email(one, other)
    assert is_same_email(other, one)


@pytest.mark.parametrize(
    "other",
    [
        "m\u0131ke@example.com",  # dotless i
        "M\u0130KE@EXAMPLE.COM",  # capital I with dot
        "mi\u212ae@example.com",  # KELVIN SIGN
        "m\u0456ke@example.com",  # Cyrillic i
        "mike@ex\u0430mple.com",  # Cyrillic a
        "\uff4dike@example.com",  # full-width m
        "mike\uff20example.com",  # full-width @
        "mike@example\u3002com",  # ideographic full stop
        "mike+codes@example.com",
        "mike@example.com.",
        "mike.@example.com",
        "m.ike@example.com",
        "mike@example.co",
        "mike@sub.example.com",
        "mi ke@example.com",
        "mike@example.com, eve@example.com",
        "mike\u200b@example.com",
        "mike\u0301@example.com",
        "mike@example.com\x00",
        "\u202emike@example.com",
        "",
        None,
    ],
)
def test_look_alikes_do_not_meet(other):
    """R-24"""
    assert not is_same_email(OWNER, other)
    assert not is_same_email(other, OWNER)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u212aim@example.com", "kim@example.com"),
        ("\u017fam@example.com", "sam@example.com"),
        ("stra\u00dfe@example.com", "strasse@example.com"),
        ("\u212bke@example.com", "\u00e5ke@example.com"),
        ("\u212bke@example.com", "A\u030ake@example.com"),
        ("\ufb01n@example.com", "fin@example.com"),
        ("\u2126@example.com", "\u03a9@example.com"),
        ("\u00c9@example.com", "\u00e9@example.com"),
    ],
)
def test_folding_and_compatibility_never_join_two_people(one, other):
    """R-24"""
    assert not is_same_email(one, other)
    assert is_same_email(one, one) and is_same_email(other, other)


@pytest.mark.parametrize(
    "typed",
    [
        None,
        5,
        True,
        b"mike@example.com",
        ["mike@example.com"],
        "",
        "   ",
        "a\x00b@example.com",
        "a\nb@example.com",
        "a\ud800@example.com",
        "a\u202e@example.com",
        LONGEST + "a",
        "a" * 10**7,
    ],
)
def test_what_cannot_be_an_address_is_empty_and_matches_nothing(typed):
    assert canonical_email(typed) == ""
    assert not is_same_email(typed, typed)


def test_the_longest_address_is_an_address():
    assert canonical_email(LONGEST) == LONGEST
    assert canonical_email(f"  {LONGEST}  ") == LONGEST


@given(st.text(max_size=300))
def test_the_canonical_form_is_canonical(typed):
    once = canonical_email(typed)
    assert canonical_email(once) == once
    assert once.isprintable()
    assert len(once) <= MAX_LENGTH


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=30))
def test_ascii_case_never_matters(name):
    assert is_same_email(f"{name.upper()}@example.com", f"{name.lower()}@EXAMPLE.com")


@pytest.mark.parametrize(
    ("whole", "masked"),
    [
        (OWNER, "m•••@e•••.com"),
        ("mike@mail.example.com", "m•••@m•••.com"),
        ("mike@localhost", "m•••@•••"),
        ("mike", "m•••"),
        ("m", "m•••"),
        ("", ""),
    ],
)
def test_a_masked_address_or_name_tells_where_it_begins_only(whole, masked):
    assert masked_email(whole) == masked
