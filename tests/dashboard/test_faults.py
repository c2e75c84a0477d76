"""What cannot be recorded, counted, made or read changes nothing."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse

from tests.dashboard.conftest import ACTIONS, CHANGES
from tests.owner import rows, set_up
from tests.test_middleware import broken_audit


class TestFaults:
    """R-31"""

    @pytest.mark.parametrize("name", CHANGES)
    def test_what_cannot_be_recorded_does_not_happen(self, user, generated, name):
        """R-115: the change and its event commit together, or neither."""
        before = rows()
        generated.raise_request_exception = False
        data = {"confirm": "on", "recovery_code": generated.codes[0]}
        with broken_audit():
            response = generated.send(name, **data)
        assert response.status_code == 500
        assert not any(code in response.text for code in generated.codes)
        assert rows() == before
        assert generated.send(name, **data).status_code in {200, 302}
        assert rows() != before

    def test_a_look_that_cannot_be_recorded_shows_nothing_and_is_not_used_up(self, browser):
        browser.send("recovery_generate")
        browser.raise_request_exception = False
        with broken_audit():
            assert browser.open().status_code == 500
        assert browser.open().context["plaintext"].codes

    @pytest.mark.parametrize(
        "target",
        [
            "recovery_backend.history.overview_of",
            "recovery_backend.history.Overview.page",
            "recovery_backend.emails.site_name",
            "recovery_backend.views.dashboard._messages",
        ],
    )
    def test_a_page_that_cannot_be_made_does_not_use_up_the_look(
        self, browser, monkeypatch, target
    ):
        """R-74"""
        browser.send("recovery_generate")
        browser.raise_request_exception = False

        def broken(*args, **kwargs):
            raise RuntimeError("a fault")

        with monkeypatch.context() as patched:
            patched.setattr(target, broken)
            assert browser.open().status_code == 500
        assert browser.open().context["plaintext"].codes

    @pytest.mark.parametrize("name", ACTIONS)
    def test_with_the_cache_down_nothing_is_changed_and_that_is_said(
        self, user, generated, settings, name, caplog
    ):
        before = rows()
        settings.CACHES = {"default": {"BACKEND": "tests.test_backends.BrokenCache"}}
        data = {"confirm": "on", "recovery_code": generated.codes[0]}
        page, answer = generated.send(name, **data), generated.send_json(name, **data)
        assert (page.status_code, answer.status_code) == (503, 503)
        assert answer.json()["code"] == "unavailable"
        assert "Nothing was changed." in answer.json()["detail"]
        assert answer.json()["detail"] in page.text
        assert {"no-store", "private"} <= set(page["Cache-Control"].split(", "))
        assert rows() == before
        assert "action not counted: ConnectionError" in caplog.text
        assert "cache is gone" not in caplog.text + page.text
        assert generated.open().status_code == 200

    def test_a_wrong_setting_is_no_cache_that_is_down(self, generated, settings):
        """R-147"""
        set_up(settings, CLIENT_RATE="often")
        with pytest.raises(ImproperlyConfigured, match="CLIENT_RATE"):
            generated.send("recovery_generate", confirm="on")

    @pytest.mark.parametrize(
        "value", ["\x00", "x" * 100_000, "%s{}", "\u202e\u200b", "<script>alert(1)</script>"]
    )
    @pytest.mark.parametrize("name", ACTIONS)
    def test_hostile_input_is_answered_and_never_a_500(self, generated, name, value):
        before = rows()
        fields = ["recovery_code", "batch", "format", "days_to_expire", "confirm"]
        response = generated.send(name, **dict.fromkeys(fields, value))
        assert response.status_code in {200, 302, 404}
        page = generated.open()
        assert "<script>alert" not in response.text + page.text
        assert rows() == before

    @pytest.mark.parametrize("name", ACTIONS)
    def test_raw_bytes_are_answered(self, generated, name):
        url, kind = reverse(name), "application/x-www-form-urlencoded"
        body = b"recovery_code=\xff\xfe&batch=\xed\xa0\x80&format=%00&days_to_expire=%ff"
        assert generated.post(url, body, content_type=kind).status_code in {302, 404}
        response = generated.post(url, b"[1, 2", content_type="application/json")
        assert response.status_code in {200, 302}
