"""R-101: the stream says how the owner's e-mail stands, and holds nothing for long."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import AsyncClient

from recovery_backend import events, keys
from recovery_backend.models import RecoveryCodeBatch
from tests.test_backends import BrokenCache

EVENTS = "/auth/recovery-codes/events/"
EmailState = RecoveryCodeBatch.EmailState


class LostCache(BrokenCache):
    """As that, also for a place that was taken before."""

    decr = BrokenCache.add


@pytest.fixture
def batch(user, codes):
    return RecoveryCodeBatch.objects.active_of(user)


@pytest.fixture
def quick(monkeypatch):
    """A stream that lives for a second."""
    monkeypatch.setattr(events, "LIFE_SECONDS", 1.0)
    monkeypatch.setattr(events, "TICK_SECONDS", 0.01)


@pytest.fixture
def connected(user):
    client = AsyncClient()
    client.force_login(user)
    return client


def states(chunks):
    return [json.loads(line[6:])["state"] for line in lines(chunks) if line.startswith("data: ")]


def lines(chunks):
    return "".join(chunks).split("\n")


async def read(client, *, during=None):
    """Everything that one stream says until it ends; `during` happens after the first event."""
    response = await client.get(EVENTS)
    assert response.status_code == 200
    chunks = []
    async for chunk in response.streaming_content:
        chunks.append(chunk.decode())
        if during is not None:
            await sync_to_async(during)()
            during = None
    return chunks


class TestWsgi:
    """One event and the end, so that no worker is held."""

    def test_one_event_says_the_state_and_when_to_ask_again(self, batch, browser):
        response = browser.open("recovery_events")
        assert response.status_code == 200
        assert not response.streaming
        assert response["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.text == 'retry: 3000\nevent: state\ndata: {"state": "none"}\n\n'
        batch.queue_email()
        assert states([browser.open("recovery_events").text]) == ["queued"]

    def test_it_is_never_stored_nor_held_back_by_a_proxy(self, browser):
        """R-75"""
        response = browser.open("recovery_events")
        assert {"no-store", "private"} <= set(response["Cache-Control"].split(", "))
        assert response["X-Accel-Buffering"] == "no"

    def test_without_codes_there_is_a_state_too(self, browser):
        assert states([browser.open("recovery_events").text]) == ["none"]

    def test_it_takes_no_place(self, user, browser):
        for _ in range(3 * events.MAX_STREAMS):
            assert browser.open("recovery_events").status_code == 200

    def test_asking_with_head_is_fine(self, browser):
        assert browser.head(EVENTS).status_code == 200


@pytest.mark.usefixtures("quick")
class TestAsgi:
    def test_a_final_state_ends_it(self, batch, connected):
        chunks = async_to_sync(read)(connected)
        assert chunks == ['retry: 3000\nevent: state\ndata: {"state": "none"}\n\n']

    @pytest.mark.parametrize("final", [EmailState.SENT, EmailState.FAILED])
    def test_a_change_is_sent_and_the_final_one_ends_it(self, batch, connected, final):
        batch.queue_email()

        def send():
            batch.start_email()
            batch.close_email(final)

        assert states(async_to_sync(read)(connected, during=send)) == ["queued", str(final)]

    def test_the_same_state_is_told_once(self, batch, connected):
        batch.queue_email()
        assert states(async_to_sync(read)(connected)) == ["queued"]

    def test_it_lives_for_so_long_at_most(self, batch, connected, monkeypatch):
        monkeypatch.setattr(events, "LIFE_SECONDS", 0.2)
        batch.queue_email()

        async def timed():
            async with asyncio.timeout(10):
                return await read(connected)

        assert states(async_to_sync(timed)()) == ["queued"]

    def test_a_heartbeat_says_that_it_lives(self, batch, connected, monkeypatch):
        monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.1)
        batch.queue_email()
        chunks = async_to_sync(read)(connected)
        assert 2 <= chunks.count(events.HEARTBEAT) <= 10
        assert states(chunks) == ["queued"]
        assert all(chunk.endswith("\n\n") for chunk in chunks)

    def test_signing_out_ends_it(self, batch, connected, monkeypatch):
        monkeypatch.setattr(events, "LIFE_SECONDS", 60.0)
        batch.queue_email()

        async def read_until_signed_out():
            async with asyncio.timeout(10):
                return await read(connected, during=Session.objects.all().delete)

        assert states(async_to_sync(read_until_signed_out)()) == ["queued"]

    def test_it_is_about_the_own_codes_only(self, batch, make_user):
        """R-97"""
        batch.queue_email()
        other = AsyncClient()
        other.force_login(make_user())
        assert states(async_to_sync(read)(other)) == ["none"]

    def test_new_codes_begin_anew(self, user, batch, connected, make_codes):
        batch.queue_email()
        chunks = async_to_sync(read)(connected, during=lambda: make_codes(user))
        assert states(chunks) == ["queued", "none"]

    def test_it_holds_no_code(self, user, codes, batch, connected):
        batch.queue_email()
        text = "".join(async_to_sync(read)(connected))
        assert not any(code[:13] in text for code in codes)
        assert user.email not in text

    def test_anonymous_people_get_none(self, db):
        response = async_to_sync(AsyncClient().get)(EVENTS)
        assert response.status_code == 302


class TestPlaces:
    """R-62, R-101: at most five streams of one user."""

    @pytest.fixture(autouse=True)
    def queued(self, batch):
        batch.queue_email()

    def open_many(self, client, number):
        async def open_many():
            return [await client.get(EVENTS) for _ in range(number)]

        return async_to_sync(open_many)()

    def read_all(self, responses):
        """Read each stream to its end, which comes with the end of the e-mail."""
        batch = RecoveryCodeBatch.objects.get()
        batch.start_email()
        batch.close_email(EmailState.FAILED)

        async def read_one(response):
            return [chunk async for chunk in response.streaming_content]

        async def read_all():
            await asyncio.gather(*(read_one(each) for each in responses if each.streaming))

        async_to_sync(read_all)()

    def test_the_sixth_is_refused(self, connected):
        responses = self.open_many(connected, 7)
        assert [response.status_code for response in responses] == [200] * 5 + [429] * 2
        assert responses[-1]["Retry-After"] == "25"
        assert not responses[-1].content
        self.read_all(responses)

    def test_another_user_has_places_of_their_own(self, connected, make_user):
        responses = self.open_many(connected, 6)
        other = AsyncClient()
        other.force_login(make_user())
        assert self.open_many(other, 1)[0].status_code == 200
        self.read_all(responses)

    def test_a_place_is_given_back_at_the_end(self, user, batch, connected):
        for _ in range(3):
            responses = self.open_many(connected, 6)
            assert [response.status_code for response in responses] == [200] * 5 + [429]
            self.read_all(responses)
            batch.queue_email()
        assert cache.get(events.cache_key(user)) == 0

    def test_a_place_is_given_back_when_the_browser_leaves(self, user, connected):
        async def leave():
            told = asyncio.Event()
            task = asyncio.create_task(read(connected, during=told.set))
            await asyncio.wait_for(told.wait(), 10)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        for _ in range(7):
            async_to_sync(leave)()
        assert cache.get(events.cache_key(user)) == 0

    def test_a_place_is_given_back_after_a_fault(self, user, connected, monkeypatch):
        def broken(*args, **kwargs):
            raise RuntimeError("a fault")

        with monkeypatch.context() as patched:
            patched.setattr("recovery_backend.flows.email_state", broken)
            for _ in range(6):
                with pytest.raises(RuntimeError):
                    async_to_sync(read)(connected)
        assert events.open_place(user)

    def test_places_of_a_server_that_died_come_back(self, user, clock):
        assert [events.open_place(user) for _ in range(6)] == [True] * 5 + [False]
        clock.shift(2 * events.LIFE_SECONDS)
        assert events.open_place(user)

    def test_a_place_is_remembered_for_as_long_as_its_stream_lives(self, user, clock):
        assert events.open_place(user)
        clock.shift(40)
        assert [events.open_place(user) for _ in range(4)] == [True] * 4
        clock.shift(20)
        assert not events.open_place(user)

    def test_giving_back_what_nobody_holds_is_fine(self, user):
        events.close_place(user)
        assert events.open_place(user)

    def test_with_the_cache_down_there_is_one_event_and_no_stream(
        self, connected, settings, caplog
    ):
        settings.CACHES = {"default": {"BACKEND": "tests.test_backends.BrokenCache"}}
        response = async_to_sync(connected.get)(EVENTS)
        assert (response.status_code, response.streaming) == (200, False)
        assert states([response.text]) == ["queued"]
        assert "places not counted: ConnectionError" in caplog.text
        assert "cache is gone" not in caplog.text

    def test_a_cache_that_goes_down_ends_the_stream_quietly(
        self, connected, settings, monkeypatch, caplog
    ):
        monkeypatch.setattr(events, "LIFE_SECONDS", 0.1)

        def lose_the_cache():
            settings.CACHES = {"default": {"BACKEND": "tests.test_events.LostCache"}}

        assert states(async_to_sync(read)(connected, during=lose_the_cache)) == ["queued"]
        assert "place not given back: ConnectionError" in caplog.text

    def test_asking_with_head_takes_no_place(self, user, connected):
        """R-98: it is answered at once, as under WSGI."""
        for _ in range(2 * events.MAX_STREAMS):
            response = async_to_sync(connected.head)(EVENTS)
            assert (response.status_code, response.streaming) == (200, False)
        assert cache.get(events.cache_key(user)) is None

    def test_the_cache_names_nobody(self, user, settings):
        """R-65"""
        key = events.cache_key(user)
        assert re.fullmatch(r"recovery_backend:streams:[0-9a-f]{64}", key)
        settings.DJANGO_AUTH_RECOVERY_KEY = keys.generate_key()
        assert events.cache_key(user) != key

    def test_a_cache_that_keeps_nothing_keeps_nobody_out(self, user, settings):
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
        assert all(events.open_place(user) for _ in range(6))


def test_our_figures_hold_no_server_for_long():
    assert events.LIFE_SECONDS <= 25
    assert events.MAX_STREAMS == 5
    assert events.HEARTBEAT_SECONDS < events.LIFE_SECONDS
