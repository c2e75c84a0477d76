"""R-54: who is calling, as far as headers can be believed. Nothing raises."""

from __future__ import annotations

import unicodedata

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from recovery_backend.clients import NOBODY, Client, client_of, masked_network, printable

PEER = "198.51.100.7"
HOSTILE = [
    "",
    ",",
    ",,,,",
    " , ",
    "unknown",
    "1.2.3.4.5",
    "999.1.1.1",
    "<script>",
    "1.2.3.4; DROP TABLE",
    "\x00",
    "\ud800",
    "1.2.3.4\r\nX: y",
    "[",
    "[]",
    "]:80",
    ":",
    "::::::::::",
    "%",
    "1e400",
    "٣.٣.٣.٣",
    "a" * 100_000,
    "," * 100_000,
    "0x7f.1",
    "010.1.1.1",
]


def a_client(forwarded=None, peer=PEER, **meta):
    request = RequestFactory().get("/somewhere/")
    request.META["REMOTE_ADDR"] = peer
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    request.META.update(meta)
    return client_of(request)


@pytest.fixture
def proxies(settings):
    def set_up(number):
        settings.DJANGO_AUTH_RECOVERY_CODES_TRUSTED_PROXY_COUNT = number

    return set_up


@pytest.mark.parametrize("forwarded", ["203.0.113.9", "203.0.113.9, 192.0.2.1", *HOSTILE])
def test_without_proxies_the_header_is_ignored(forwarded):
    """R-54"""
    assert a_client(forwarded).address == PEER


@pytest.mark.parametrize(
    ("count", "forwarded", "expected"),
    [
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "10.9.9.9, 203.0.113.9", "203.0.113.9"),
        (1, "203.0.113.9,", PEER),
        (2, "203.0.113.9, 192.0.2.1", "203.0.113.9"),
        (2, "10.9.9.9, 203.0.113.9, 192.0.2.1", "203.0.113.9"),
        (2, "203.0.113.9", PEER),
        (3, "203.0.113.9, 192.0.2.1", PEER),
        (1, None, PEER),
        (1, "203.0.113.9:4711", "203.0.113.9"),
        (1, "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "fe80::1%eth0", "fe80::1"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "nonsense", PEER),
        (2, "nonsense, 192.0.2.1", PEER),
    ],
)
def test_the_nth_address_from_the_right_counts(proxies, count, forwarded, expected):
    """R-54"""
    proxies(count)
    assert a_client(forwarded).address == expected


def test_a_thousand_invented_hops_are_one_client(proxies):
    """R-54"""
    proxies(1)
    clients = {a_client(f"10.0.{number % 256}.1, 203.0.113.9").network for number in range(1000)}
    assert clients == {"203.0.113.9/32"}


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_headers_never_raise(proxies, count, value):
    """R-54"""
    proxies(count)
    client = a_client(value, HTTP_USER_AGENT=value, HTTP_X_REQUEST_ID=value, HTTP_FORWARDED=value)
    assert client.address == PEER
    assert a_client(value, peer=value).network == ""


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_at_all_raises(forwarded, peer):
    a_client(forwarded, peer=peer, HTTP_USER_AGENT=forwarded)
    masked_network(peer)


@pytest.mark.parametrize("peer", [None, "", 5, b"1.2.3.4", "unix:"])
def test_a_missing_peer_is_nobody_in_particular(peer):
    assert a_client(peer=peer).address == ""
    assert a_client(peer=peer).network == ""


def test_a_request_without_remote_addr_has_an_empty_address():
    request = RequestFactory().get("/")
    del request.META["REMOTE_ADDR"]
    assert client_of(request).address == ""


def test_no_request_is_nobody():
    """R-29"""
    assert client_of(None) is NOBODY
    assert Client("", "", "", "") == NOBODY


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9/32"),
        ("203.0.113.9:80", "203.0.113.9/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::ffff", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9/32"),
        ("::1", "::/64"),
    ],
)
def test_a_network_is_one_v4_address_or_a_v6_subnet(address, network):
    """R-54"""
    assert a_client(peer=address).network == network


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_a_shown_network_names_no_host(address, shown):
    assert masked_network(address) == shown


@given(st.text(max_size=400), st.integers(0, 300))
def test_printable_text_has_no_control_bidi_or_invisible_characters(value, length):
    """R-118"""
    shown = printable(value, length)
    assert len(shown) <= length
    assert all(c == " " or unicodedata.category(c)[0] not in "CZ" for c in shown)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux)", "Mozilla/5.0 (X11; Linux)"),
        ("a\r\nINFO forged line", "a  INFO forged line"),
        ("a\u202eb\u2066c\u200bd\u2028e\x1b[31m\x00", "a b c d e [31m "),
        ("é 漢 😀", "é 漢 😀"),
        (None, ""),
        (b"bytes", ""),
        (5, ""),
    ],
)
def test_log_lines_cannot_be_forged(value, shown):
    """R-118"""
    assert printable(value, 256) == shown


def test_what_is_kept_of_a_request_is_short():
    """R-116"""
    request = RequestFactory().get("/" + "p" * 5000)
    request.META["HTTP_USER_AGENT"] = "u" * 5000
    request.META["HTTP_X_REQUEST_ID"] = "r" * 5000
    client = client_of(request)
    assert (len(client.user_agent), len(client.request_id), len(client.path)) == (256, 64, 128)
