"""How codes are made, and what is read from what people type."""

from __future__ import annotations

import ast
import copy
import gc
import json
import logging
import operator
import pickle
import pprint
import random
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.views.debug import SafeExceptionReporterFilter
from hypothesis import given
from hypothesis import strategies as st

from recovery_backend import codes
from recovery_backend.codes import ALPHABET, LENGTH, PresentedCode, canonicalise, display, generate
from recovery_backend.keys import generate_key, write_key
from tests.conftest import WRONG_CODE

PACKAGES = ("recovery_backend", "recovery_backend_allauth", "recovery_backend_api")
FOLDERS = [Path(find_spec(package).origin).parent for package in PACKAGES]
MODULES = {
    path.relative_to(folder.parent).as_posix(): path.read_text()
    for folder in FOLDERS
    for path in sorted(folder.rglob("*.py"))
}
# Seals of the audit are compared by a command, and whoever runs it may read them.
COMPARING = [name for name in MODULES if not name.startswith("recovery_backend/seals/")]
CODE = "ABCDEF-GHJKLM-NPQRST-UVWXYZ-abcdef-ghijkm"
CANONICAL = CODE.replace("-", "")
SEPARATORS = [
    *" \t\n\r\f\v",
    *"-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\u02d7\ufe58\ufe63\uff0d\u058a\u30fc",
    *"\u00a0\u1680\u2002\u2003\u2007\u2009\u200a\u202f\u205f\u3000\u2028\u2029",
    *"\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u202a\u202e\u2066\u2069\u061c\u180e",
]
canonical_codes = st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH)


class TestGeneration:
    """R-01, R-02, R-03"""

    def test_a_code_is_six_groups_of_six_from_the_alphabet(self):
        groups = generate().split("-")
        assert [len(group) for group in groups] == [6] * 6
        assert set("".join(groups)) <= set(ALPHABET)

    def test_the_alphabet_has_no_look_alikes_doubles_or_signs(self):
        """R-03"""
        assert not set(ALPHABET) & set("0Oo1lI")
        assert len(set(ALPHABET)) == len(ALPHABET) == 56
        assert ALPHABET.isascii() and ALPHABET.isalnum()

    def test_a_code_has_over_200_bits(self):
        """R-02"""
        assert codes.entropy_bits() == pytest.approx(209.06, abs=0.01)

    @pytest.mark.parametrize(
        ("alphabet", "length", "bits"),
        [("01", 8, 8), ("0123456789abcdef", 32, 128), ("AAAA", 99, 0)],
    )
    def test_entropy_counts_different_characters(self, alphabet, length, bits):
        assert codes.entropy_bits(alphabet, length) == pytest.approx(bits)

    def test_no_seed_repeats_codes(self):
        random.seed(0)
        first = [generate() for _ in range(10)]
        random.seed(0)
        assert len({*first, *(generate() for _ in range(10))}) == 20

    def test_every_character_is_equally_likely(self):
        """R-01: chi-square over 200,000 characters; 121 is p = 1e-6 at 55 degrees of freedom."""
        number = 200_000 // LENGTH
        counts = Counter("".join(generate().replace("-", "") for _ in range(number)))
        expected = number * LENGTH / len(ALPHABET)
        assert sum((counts[c] - expected) ** 2 / expected for c in ALPHABET) < 121


class TestCanonicaliser:
    """R-04"""

    @given(canonical_codes)
    def test_the_display_form_reads_back(self, canonical):
        assert canonicalise(display(canonical)) == canonicalise(canonical) == canonical

    @given(st.text(max_size=300))
    def test_it_is_idempotent_on_any_text(self, typed):
        once = canonicalise(typed)
        assert once is None or canonicalise(once) == once

    @given(canonical_codes, st.data())
    def test_it_accepts_any_sprinkling_of_separators(self, canonical, data):
        runs = st.lists(st.sampled_from(SEPARATORS), max_size=5).map("".join)
        noise = data.draw(st.lists(runs, min_size=LENGTH + 1, max_size=LENGTH + 1))
        typed = noise[0] + "".join(c + run for c, run in zip(canonical, noise[1:], strict=True))
        assert canonicalise(typed) == canonical

    @pytest.mark.parametrize(
        "typed",
        [
            f"3. {CODE}",
            f"12) {CODE}",
            f"10: {CODE}",
            f"[ ] {CODE}",
            f"[ ] 7. {CODE}",
            f"☐ {CODE}",
            f"• {CODE}\n",
            f"  * 1.\t{CODE}  ",
            "\ufeff" + CODE,
            CODE.replace("-", " \u2013\n"),
            "".join(f"{character} " for character in CODE),
        ],
    )
    def test_a_whole_printed_line_is_read(self, typed):
        assert canonicalise(typed) == CANONICAL

    @given(canonical_codes, st.integers(0, LENGTH - 1))
    def test_it_never_folds_case(self, canonical, position):
        turned = canonical[position].swapcase()
        other = canonical[:position] + turned + canonical[position + 1 :]
        expected = None if turned not in ALPHABET else other
        assert canonicalise(other) == expected or turned == canonical[position]

    @pytest.mark.parametrize(
        "character",
        [
            *"0Oo1lI",
            *"\uff21\uff41\uff12\u0430\u0435\u041a\u212a\u2160\u0130\u0131\u017f\u00e9\u0661",
        ],
    )
    @given(canonical_codes, st.integers(0, LENGTH - 1))
    def test_it_never_replaces_look_alikes(self, character, canonical, position):
        assert canonicalise(canonical[:position] + character + canonical[position + 1 :]) is None

    @pytest.mark.parametrize(
        "typed",
        [
            None,
            5,
            True,
            3.5,
            b"x",
            CODE.encode(),
            [CODE],
            {CODE: 1},
            (CODE,),
            "",
            " ",
            "-" * 36,
            CODE[:-1],
            CODE + "A",
            CODE + CODE,
            CODE.replace("A", "\x00"),
            "\x00" + CODE,
            CODE + "\ud800",
            CODE.replace("-", "_"),
            CODE.replace("-", "."),
            CODE + "\u0301",
            f"{CODE} 1.",
            f"1234. {CODE}",
        ],
    )
    def test_anything_else_is_no_code(self, typed):
        assert canonicalise(typed) is None

    def test_the_length_is_looked_at_first(self):
        """R-04: a megabyte costs as much as a line."""

        class Megabyte(str):
            def __iter__(self):
                raise AssertionError("The text was read.")

            isascii = casefold = lower = strip = split = encode = __iter__

        assert canonicalise(Megabyte("A" * 10**6)) is None
        assert canonicalise(CODE.ljust(codes.MAX_TYPED_LENGTH)) == CANONICAL
        assert canonicalise(CODE.ljust(codes.MAX_TYPED_LENGTH + 1)) is None


class TestPresentedCode:
    """R-28, R-84: what a code becomes at the edge shows nothing of it."""

    @pytest.fixture(autouse=True)
    def presented(self):
        self.code = PresentedCode(CODE)

    @pytest.mark.parametrize(
        "show",
        [
            repr,
            str,
            format,
            "{}".format,
            "{!r:>80}".format,
            pprint.pformat,
            lambda code: f"{[code]}",
            lambda code: operator.mod("%s %r", (code, code)),
            lambda code: pprint.pformat({"recovery_code": code}),
            lambda code: SafeExceptionReporterFilter().cleanse_setting("value", code).__repr__(),
            lambda code: logging.LogRecord("", 0, "", 0, "%s", (code,), None).getMessage(),
        ],
    )
    def test_no_text_form_shows_it(self, show):
        text = show(self.code)
        assert "PresentedCode" in text
        for group in CODE.split("-"):
            assert group not in text
        for digest in self.code.digests():
            assert digest.hex not in text and str(digest) not in text

    @pytest.mark.parametrize(
        "store",
        [
            *(
                lambda code, protocol=protocol: pickle.dumps(code, protocol)
                for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
            ),
            copy.copy,
            copy.deepcopy,
            vars,
            lambda code: json.dumps(code, cls=DjangoJSONEncoder),
            lambda code: setattr(code, "typed", CODE),
        ],
    )
    def test_it_cannot_be_stored_copied_or_listed(self, store):
        with pytest.raises((TypeError, AttributeError)) as caught:
            store(self.code)
        assert CODE not in str(caught.value)

    def test_nothing_that_it_refers_to_is_the_code(self):
        seen, waiting = [], [self.code]
        while waiting:
            for thing in gc.get_referents(waiting.pop()):
                if not isinstance(thing, type) and not any(thing is other for other in seen):
                    seen.append(thing)
                    waiting.append(thing)
        assert seen
        for text in (CODE, CANONICAL):
            assert not any(text in thing for thing in seen if isinstance(thing, str))
            assert not any(text.encode() in thing for thing in seen if isinstance(thing, bytes))

    def test_all_spellings_give_the_same_digests(self):
        assert PresentedCode(f"4. {CANONICAL}").digests() == self.code.digests()

    def test_there_is_one_digest_for_each_key(self, settings):
        before = self.code.digests()
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [settings.DJANGO_AUTH_RECOVERY_KEY]
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        after = PresentedCode(CODE).digests()
        assert len(after) == 2
        assert after[1:] == before

    @pytest.mark.parametrize("typed", [None, 5, b"x", [], "", "x" * 10**7, "\x00", "\ud800"])
    def test_bad_input_makes_one_too_at_the_same_cost(self, typed):
        """R-26"""
        bad = PresentedCode(typed)
        assert not bad.is_well_formed
        assert len(bad.digests()) == len(self.code.digests())
        assert not set(bad.digests()) & set(self.code.digests())

    def test_it_knows_the_row_that_was_made_from_it(self):
        """R-17"""
        key = write_key()
        digest, bind = codes.stored_form(CODE, key, user_id=7, batch_id=11)
        assert isinstance(digest, UUID) and self.code.digests() == [digest]
        right = {"key_id": key.id, "user_id": 7, "batch_id": 11}
        assert self.code.is_bound_to(bind, **right)
        assert self.code.is_bound_to(memoryview(bind), **right)
        for change in ({"user_id": 8}, {"batch_id": 12}, {"key_id": "unknown"}):
            assert not self.code.is_bound_to(bind, **{**right, **change})
        assert not PresentedCode(WRONG_CODE).is_bound_to(bind, **right)
        assert not self.code.is_bound_to(bind[:-1], **right)
        assert not self.code.is_bound_to(b"", **right)

    @pytest.mark.parametrize("typed", ["", None, "not a code", CODE[:-1]])
    def test_nothing_but_a_code_gets_a_stored_form(self, typed):
        with pytest.raises(ValueError, match=r"^Not a recovery code\.$"):
            codes.stored_form(typed, write_key(), user_id=7, batch_id=11)


SECRET_WORDS = ("digest", "bind", "seal", "mac", "material", "canonical_email")


def weak_randomness(source):
    """Names of random sources that are not the operating system's (R-01)."""
    forbidden = {"random", "uuid1", "get_random_string", "randint", "randrange"}
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names} & forbidden
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").partition(".")[0], *(alias.name for alias in node.names)}
            found |= names & forbidden
        elif isinstance(node, ast.Attribute):
            found |= {node.attr} & forbidden
    return found


def open_comparisons(source):
    """Comparisons with == of what has to be compared in constant time (R-16)."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and any(isinstance(operator, (ast.Eq, ast.NotEq)) for operator in node.ops)
        and any(word in ast.unparse(node).lower() for word in SECRET_WORDS)
    ]


class TestSource:
    @pytest.mark.parametrize("name", MODULES)
    def test_randomness_comes_from_secrets_only(self, name):
        """R-01"""
        assert weak_randomness(MODULES[name]) == set()

    @pytest.mark.parametrize("name", COMPARING)
    def test_digests_are_never_compared_with_equals(self, name):
        """R-16"""
        assert open_comparisons(MODULES[name]) == []

    @pytest.mark.parametrize(
        "source",
        [
            "import random",
            "from random import choice",
            "from django.utils.crypto import get_random_string",
            "import uuid\nuuid.uuid1()",
        ],
    )
    def test_the_scan_finds_weak_randomness(self, source):
        assert weak_randomness(source)

    @pytest.mark.parametrize("source", ["row.digest == digest", "if bind != other: pass"])
    def test_the_scan_finds_open_comparisons(self, source):
        assert open_comparisons(source)


class TestShortCodes:
    """Codes of other packages: too weak to be looked for without knowing whose they should be."""

    @pytest.mark.parametrize(
        ("typed", "canonical"),
        [
            ("12345678", "12345678"),
            ("1234 5678", "12345678"),
            ("1234-5678", "12345678"),
            ("3. 12345678", "12345678"),
            ("abcd2345", "abcd2345"),
            ("ABCD2345", "ABCD2345"),
        ],
    )
    def test_separators_do_not_matter_and_letters_keep_their_case(self, typed, canonical):
        assert codes.canonicalise_short(typed) == canonical

    @pytest.mark.parametrize(
        "typed", [None, 5, b"12345678", "", "123", "1" * 36, "1234567é", "1234_678", "1" * 257]
    )
    def test_anything_else_is_none(self, typed):
        assert codes.canonicalise_short(typed) is None

    def test_one_code_of_two_users_has_two_digests(self):
        mine, _ = codes.stored_short_form("12345678", write_key(), user_id=1, batch_id=1)
        theirs, _ = codes.stored_short_form("12345678", write_key(), user_id=2, batch_id=2)
        assert mine != theirs
        assert PresentedCode("1234 5678").short_digests(1) == [mine]

    def test_its_digest_is_no_digest_of_a_long_code(self):
        """So that no page without a first factor can find it."""
        stored, _ = codes.stored_short_form("12345678", write_key(), user_id=1, batch_id=1)
        assert stored not in PresentedCode("12345678").digests()

    def test_its_tag_names_user_and_batch(self):
        _, bind = codes.stored_short_form("12345678", write_key(), user_id=1, batch_id=7)
        code, key_id = PresentedCode("12345678"), write_key().id
        assert code.is_bound_to(bind, key_id=key_id, user_id=1, batch_id=7, is_short=True)
        assert not code.is_bound_to(bind, key_id=key_id, user_id=2, batch_id=7, is_short=True)
        assert not code.is_bound_to(bind, key_id=key_id, user_id=1, batch_id=8, is_short=True)
        assert not code.is_bound_to(bind, key_id=key_id, user_id=1, batch_id=7)

    def test_what_is_no_code_is_not_stored(self):
        with pytest.raises(ValueError, match="Not a recovery code"):
            codes.stored_short_form("123", write_key(), user_id=1, batch_id=1)
