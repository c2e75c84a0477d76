"""The keyring: vectors, labels, rotation, and what a bad key stops."""

from __future__ import annotations

import ast
import hashlib
import hmac
import subprocess
from typing import get_args
from uuid import UUID

import pytest
from django.contrib.auth import authenticate
from django.core.exceptions import ImproperlyConfigured
from django.views.debug import ExceptionReporter

from recovery_backend import codes, keys
from recovery_backend.keys import Label, generate_key, keyring, write_key
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.setting_types import key_problem
from tests.conftest import WRONG_CODE

KEY = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
CODE = "ABCDEF-GHJKLM-NPQRST-UVWXYZ-abcdef-ghijkm"
LABELS = get_args(Label)


@pytest.fixture
def known_key(settings):
    settings.DJANGO_AUTH_RECOVERY_KEY = KEY
    return write_key()


@pytest.fixture
def rotate(settings):
    """Make a new key the one that writes, and the present one a fallback."""

    def rotate():
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [
            settings.DJANGO_AUTH_RECOVERY_KEY,
            *getattr(settings, "DJANGO_AUTH_RECOVERY_KEY_FALLBACKS", []),
        ]
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()

    return rotate


class TestVectors:
    """R-11: what is in users' tables must be found again by every later release."""

    def test_the_id_of_a_key_stays(self, known_key):
        assert known_key.id == "128ed784cd13"

    def test_the_stored_form_of_a_code_stays(self, known_key):
        digest, bind = codes.stored_form(CODE, known_key, user_id=7, batch_id=11)
        assert digest == UUID("89a9310c-fc65-47eb-a67d-f9b75caeabbb")
        assert bind.hex() == "a221b1083f6818f4fc40fa40cf26aa1ca5bbc1326c5b9cd02345c6e9194996ff"

    def test_the_stored_form_of_an_imported_code_stays(self, known_key):
        foreign = "0123456789abcdef" * 8
        digest, bind = codes.stored_imported_form(foreign, known_key, user_id=7, batch_id=11)
        assert digest == UUID("12f50a12-8a55-4f2e-a0a0-be3dc3495706")
        assert bind.hex() == "ed9913dd10a2faa8e12c87ba76061575be23363f5add2efc4c0c187b5bbff002"

    def test_the_stored_form_of_a_short_code_stays(self, known_key):
        digest, bind = codes.stored_short_form("12345678", known_key, user_id=7, batch_id=11)
        assert digest == UUID("7ecbb35b-fb9c-4133-9f7f-13599b19e746")
        assert bind.hex() == "67228aa5ad727c6b28d3890e14a1cb0b5e989193bf7e19ede72d796ce59d20a6"

    def test_a_mac_is_hmac_sha256_of_framed_parts_under_the_key_of_its_label(self, known_key):
        def sha(key, message):
            return hmac.new(key, message, hashlib.sha256).digest()

        subkey = sha(hashlib.sha256(KEY.encode()).digest(), b"recovery_backend/1/audit")
        assert known_key.mac("audit", "ab", "é") == sha(
            subkey, b"\x00\x00\x00\x02ab\x00\x00\x00\x02\xc3\xa9"
        )


class TestLabels:
    """R-12"""

    def test_every_label_has_its_own_key(self, known_key):
        assert len({known_key.subkey(label) for label in LABELS}) == len(LABELS)
        assert len({known_key.mac(label, "same") for label in LABELS}) == len(LABELS)

    def test_no_label_gives_the_material_away(self, known_key):
        assert known_key.material not in {known_key.subkey(label) for label in LABELS}

    def test_parts_cannot_pose_as_two(self, known_key):
        outputs = [
            known_key.mac("throttle", *parts)
            for parts in [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc")]
        ]
        assert len(set(outputs)) == len(outputs)

    def test_lone_surrogates_are_hashed_and_not_raised(self, known_key):
        assert len(known_key.mac("throttle", "\ud800")) == 32

    def test_digest_and_bind_have_nothing_in_common(self, known_key):
        digest, bind = codes.stored_form(CODE, known_key, user_id=7, batch_id=11)
        assert digest.bytes not in bind
        assert len(bind) == 32

    @pytest.mark.parametrize(
        "owner", [{"user_id": 8, "batch_id": 11}, {"user_id": 7, "batch_id": 1}]
    )
    def test_the_bind_names_user_and_batch(self, known_key, owner):
        """R-17"""
        first = codes.stored_form(CODE, known_key, user_id=7, batch_id=11)
        second = codes.stored_form(CODE, known_key, **owner)
        assert first[0] == second[0]
        assert first[1] != second[1]

    def test_a_user_id_never_runs_into_the_batch_id(self, known_key):
        """R-17: 1 and 23 are not 12 and 3."""
        one = codes.stored_form(CODE, known_key, user_id=1, batch_id=23)
        other = codes.stored_form(CODE, known_key, user_id=12, batch_id=3)
        assert one[1] != other[1]


class TestRotation:
    """R-13"""

    def test_old_codes_work_while_their_key_is_a_fallback(self, user, codes, try_code, rotate):
        rotate()
        assert try_code(user.email, codes[0]) == user
        rotate()
        assert try_code(user.email, codes[1]) == user

    def test_new_rows_use_the_new_key(self, user, make_codes, rotate, try_code):
        make_codes(user)
        old = write_key().id
        rotate()
        plain_codes = make_codes(user)
        assert write_key().id != old
        assert set(RecoveryCode.objects.usable().values_list("key_id", flat=True)) == {
            write_key().id
        }
        assert try_code(user.email, plain_codes[0]) == user

    def test_a_removed_key_ends_its_own_rows_only(
        self, make_user, make_codes, rotate, settings, try_code
    ):
        before, after = make_user(), make_user()
        old_codes = make_codes(before)
        rotate()
        new_codes = make_codes(after)
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
        assert try_code(before.email, old_codes[0]) is None
        assert try_code(after.email, new_codes[0]) == after

    def test_a_key_that_comes_back_brings_its_codes_back(
        self, user, codes, rotate, settings, try_code
    ):
        rotate()
        fallbacks = settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
        assert try_code(user.email, codes[0]) is None
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = fallbacks
        assert try_code(user.email, codes[0]) == user

    def test_the_first_key_writes(self, rotate):
        rotate()
        assert len(keyring()) == 2
        assert keyring()[0] == write_key()


class TestRuntime:
    """R-18: closed, whatever the checks were told."""

    @pytest.fixture(params=["missing", "secret", "short", "placeholder", "bytes", "fallback"])
    def bad_key(self, request, settings):
        def set_up():
            if request.param == "missing":
                del settings.DJANGO_AUTH_RECOVERY_KEY
            elif request.param == "secret":
                settings.SECRET_KEY = settings.DJANGO_AUTH_RECOVERY_KEY
            elif request.param == "fallback":
                settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = ["short"]
            else:
                settings.DJANGO_AUTH_RECOVERY_KEY = {
                    "short": "4b7d1f0c9a6e8352",
                    "placeholder": "change-me" * 10,
                    "bytes": b"4b7d1f0c9a6e83520d1c2b3a495867f6e5d4c3b2a19087f6",
                }[request.param]
            return request.param

        return set_up

    def test_no_batch_is_made_with_a_bad_key(self, user, bad_key):
        if bad_key() == "fallback":  # it makes nothing, so it stops nothing here
            assert RecoveryCodeBatch.create_recovery_batch(user)
            return
        with pytest.raises(ImproperlyConfigured, match="DJANGO_AUTH_RECOVERY_KEY"):
            RecoveryCodeBatch.create_recovery_batch(user)
        assert not RecoveryCodeBatch.objects.exists()

    @pytest.mark.parametrize("typed", [WRONG_CODE, "", "x" * 1000])
    def test_nobody_signs_in_with_a_bad_key(self, user, bad_key, make_request, typed):
        bad_key()
        for request in (None, make_request()):
            with pytest.raises(ImproperlyConfigured, match="DJANGO_AUTH_RECOVERY_KEY"):
                authenticate(request, email=user.email, recovery_code=typed)

    def test_a_password_still_signs_in(self, user, bad_key):
        """R-61"""
        bad_key()
        assert authenticate(None, username="owner", password="correct horse") == user


class TestSilence:
    """R-84"""

    @pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format])
    def test_a_key_shows_nothing_but_its_id(self, known_key, show):
        text = show(known_key)
        assert known_key.id in text
        assert known_key.material.hex() not in text
        assert repr(known_key.material) not in text
        assert KEY not in text

    def test_an_id_does_not_lead_to_the_material(self, known_key):
        assert known_key.id not in known_key.material.hex()
        assert known_key.id not in hashlib.sha256(known_key.material).hexdigest()


class TestGeneratedKeys:
    def test_a_generated_key_is_accepted_and_never_the_same(self):
        generated = {generate_key() for _ in range(100)}
        assert len(generated) == 100
        assert [key_problem(key) for key in generated] == [None] * 100
        assert all(len(bytes.fromhex(key)) == 32 for key in generated)

    def test_a_generated_key_pastes_into_python(self):
        key = generate_key()
        assert ast.literal_eval(f'"{key}"') == ast.literal_eval(f"'{key}'") == key

    def test_a_generated_key_pastes_into_a_shell(self, tmp_path):
        key = generate_key()
        (tmp_path / ".env").write_text(f"DJANGO_AUTH_RECOVERY_KEY={key}\n")
        script = '. ./.env; printf %s "$DJANGO_AUTH_RECOVERY_KEY"'
        shown = subprocess.run(
            ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert shown.stdout == key
        shown = subprocess.run(
            ["sh", "-c", f"printf %s {key}"], capture_output=True, text=True, check=True
        )
        assert shown.stdout == key


def test_the_module_keeps_no_key_of_its_own(known_key):
    assert not any(isinstance(value, keys.Key) for value in vars(keys).values())


def test_a_refused_key_is_in_no_error_report(settings):
    """R-84: not even one that is SECRET_KEY itself."""
    settings.DJANGO_AUTH_RECOVERY_KEY = settings.SECRET_KEY
    try:
        keyring()
    except ImproperlyConfigured as error:
        below_this_test = error.__traceback__.tb_next
        report = ExceptionReporter(None, type(error), error, below_this_test)
        assert settings.SECRET_KEY not in report.get_traceback_html()
        assert settings.SECRET_KEY not in report.get_traceback_text()
    else:
        pytest.fail("the key was taken")
