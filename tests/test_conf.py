"""R-147: every setting is read live, typed and bounded."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.timezone import is_aware

from recovery_backend import setting_types as rooms
from recovery_backend.conf import GROUPS, Conf, conf, table
from recovery_backend.keys import generate_key
from recovery_backend.setting_types import key_problem

ROWS = {row.name: row for row in table()}
ATTRIBUTES = {row: name for name, row in vars(Conf).items() if isinstance(row, rooms.Setting)}
NOT_A_NUMBER = ["5", None, True, False, [], float("nan"), float("inf"), 10**400]

WRONG = {
    rooms.Text: [None, 5, True, b"text", ["text"], "two\nlines", "a\x00b"],
    rooms.OptionalText: [5, True, b"text", ["text"]],
    rooms.Address: [
        None,
        5,
        "nobody",
        "a@example.com, b@example.com",
        "a@example.com\nBcc: b@c.d",
    ],
    rooms.FileName: [None, 5, True, b"codes"],
    rooms.Rate: [None, 60, "60", "0/m", "60/x", "60/m\n", "-1/m", "60 / m"],
    rooms.Flag: [None, "True", "yes", 1.0, []],
    rooms.Choice: [None, "", "everything", 1, True, ["off"], {}],
    rooms.Paths: [None, "/", 5, ["app/"], [5], {"/app"}],
    rooms.Audience: [
        None,
        5,
        "",
        "nobody",
        "no.such.function",
        "django.conf.global_settings.DEBUG",
    ],
    rooms.Word: [None, 5, True, "", "two words", "a.b", "x" * 17, "naïve", "a\n"],
    rooms.OptionalFlag: ["True", 1, 0, []],
    rooms.Whole: [*NOT_A_NUMBER, 5.0],
    rooms.Number: NOT_A_NUMBER,
    rooms.OptionalWhole: [value for value in [*NOT_A_NUMBER, 50.0] if value is not None],
    rooms.Key: [None, "", 5, b"x" * 64, "short", "a" * 64, "change-me-" + "0f3a9c7b" * 8],
    rooms.KeyList: [None, 5, "0f3a9c7b" * 8, {"a"}, [""], ["short"], [None]],
}
RIGHT = {
    rooms.Text: ["", "Example", "/path/"],
    rooms.OptionalText: [None, "", "/fonts/a.ttf"],
    rooms.Address: ["", "admin@example.com"],
    rooms.FileName: ["codes", "my-codes_2.backup", "x" * 64],
    rooms.Rate: ["1/s", "60/m", "100/10m", "5/h", "5/d"],
    rooms.Flag: [True, False],
    rooms.Word: ["Api-Key", "x", "a_1", "x" * 16],
    rooms.Paths: [[], (), ["/"], ("/app/", "/api")],
    rooms.Audience: ["everyone", "staff", bool],
    rooms.OptionalFlag: [True, False, None],
    rooms.OptionalWhole: [None],
    rooms.KeyList: [[], (), ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]],
}


def wrong_values(row):
    values = list(WRONG[type(row)])
    if hasattr(row, "minimum"):
        values += [row.minimum - 1, row.maximum + 1]
    return values


def right_values(row):
    values = list(RIGHT.get(type(row), []))
    if hasattr(row, "minimum"):
        values += [row.minimum, row.maximum]
    if hasattr(row, "choices"):
        values += row.choices
    if isinstance(row, rooms.Key):
        values.append("60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752")
    return values


def cases(values):
    return [
        pytest.param(row, value, id=f"{name.removeprefix(rooms.PREFIX)}-{value!r:.20}")
        for name, row in ROWS.items()
        for value in values(row)
    ]


def read(row):
    return getattr(conf, ATTRIBUTES[row])


def test_there_is_one_row_for_each_name():
    assert len(ROWS) == len(list(table())) == len(ATTRIBUTES)


@pytest.mark.parametrize("name", ROWS)
def test_every_default_is_valid(name, settings):
    """R-147"""
    row = ROWS[name]
    if row is Conf.__dict__["KEY"]:
        assert row.default == "" and row.problem(row.default).is_fatal
        return
    if hasattr(settings, name):
        delattr(settings, name)
    assert row.problem(row.default) is None
    assert read(row) == row.default


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_every_row_says_what_it_is_for(row):
    assert row.help.endswith(".")
    assert row.kind != "value"
    assert row.group in GROUPS


@pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if hasattr(row, "minimum")], ids=lambda row: row.name
)
def test_a_bounded_row_says_its_bounds(row):
    assert f"{row.minimum} to {row.maximum}" in row.bounds


@pytest.mark.parametrize(("row", "value"), cases(right_values))
def test_a_setting_is_read_live(row, value):
    """R-147"""
    with override_settings(**{row.name: value}):
        assert read(row) == value


@pytest.mark.parametrize(("row", "value"), cases(wrong_values))
def test_a_wrong_value_is_refused_with_the_name_of_its_setting(row, value):
    """R-147: wrong types and bounds, and True is not the number 1."""
    with override_settings(**{row.name: value}), pytest.raises(ImproperlyConfigured) as caught:
        read(row)
    assert str(caught.value).startswith(f"{row.name} ")
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if isinstance(row, rooms.Flag)], ids=lambda row: row.name
)
def test_a_flag_given_a_number_is_doubtful_but_works(row):
    problem = row.problem(30)
    assert not problem.is_fatal
    assert "30" in problem.text
    for value, meaning in [(30, True), (1, True), (0, False)]:
        with override_settings(**{row.name: value}):
            assert read(row) is meaning


def test_a_refused_key_is_not_shown(settings):
    """R-84: the error names the setting, never the value."""
    settings.DJANGO_AUTH_RECOVERY_KEY = "0f3a9c7b1d"
    with pytest.raises(ImproperlyConfigured) as caught:
        read(Conf.__dict__["KEY"])
    assert "0f3a9c7b1d" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "change-me-4b7d1f0c9a6e83520d1c2b3a495867f6e5d4c3b2",
        "your-recovery-key-here-4b7d1f0c9a6e83520d1c2b3a495867",
        "<run manage.py generate_recovery_key and paste it here>",
        "django-insecure-4b7d1f0c9a6e83520d1c2b3a495867f6e5d4",
        "ab" * 40,
        "0" * 64,
        "................................................",
    ],
)
def test_a_placeholder_is_no_key(key):
    """R-18"""
    assert "placeholder" in key_problem(key).text


@pytest.mark.parametrize("length", [10, 31, 63])
def test_less_than_32_bytes_in_hexadecimal_are_too_short(length):
    """R-11"""
    key = "4b7d1f0c9a6e83520d1c2b3a495867f6e5d4c3b2a19087f6e5d4c3b2a1908776"[:length]
    assert "too short" in key_problem(key).text


def test_secret_key_is_no_key(settings):
    """R-11"""
    settings.SECRET_KEY = generate_key()
    assert "SECRET_KEY" in key_problem(settings.SECRET_KEY).text
    settings.SECRET_KEY_FALLBACKS = [generate_key()]
    assert "SECRET_KEY" in key_problem(settings.SECRET_KEY_FALLBACKS[0]).text


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ("../../etc/passwd", "passwd"),
        ("a/b", "b"),
        ("C:\\codes\\mine", "mine"),
        (".codes", "codes"),
        ("my codes", "my_codes"),
        ('a"; filename="b', "a_filename_b"),
        ("codes\r\nSet-Cookie: a=b", "codes_Set-Cookie_a_b"),
        ("x" * 65, "x" * 64),
        ("naïve", "na_ve"),
        ("con", "recovery_codes"),
        ("NUL.txt", "recovery_codes"),
        ("...", "recovery_codes"),
        ("", "recovery_codes"),
        ("my-codes_2.backup", "my-codes_2.backup"),
    ],
)
def test_a_file_name_is_read_as_a_plain_one(settings, configured, expected):
    """R-77: the header of a download holds nothing else, whatever the setting says."""
    settings.DJANGO_AUTH_RECOVERY_CODES_DEFAULT_FILE_NAME = configured
    assert expected == conf.DEFAULT_FILE_NAME
    row = ROWS["DJANGO_AUTH_RECOVERY_CODES_DEFAULT_FILE_NAME"]
    assert (row.problem(configured) is None) == (configured == expected)


def test_a_function_may_be_named_by_its_path():
    with override_settings(
        DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_FOR="django.utils.timezone.is_aware"
    ):
        assert conf.MFA_REQUIRED_FOR is is_aware
