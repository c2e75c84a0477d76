"""The dashboard under ASGI."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django.test import AsyncClient
from django.urls import reverse

from tests.conftest import DASHBOARD


class TestAsgi:
    """The same under ASGI."""

    def test_codes_are_generated_shown_once_and_downloaded(self, user):
        client = AsyncClient()
        client.force_login(user)

        async def journey():
            made = await client.post(reverse("recovery_generate"))
            pages = [await client.get(DASHBOARD) for _ in range(2)]
            return made, pages, await client.post(reverse("recovery_download"))

        made, pages, file = async_to_sync(journey)()
        assert made.status_code == 302
        first, second = (page.context["plaintext"].codes for page in pages)
        assert len(first) == 10 and second == ()
        assert file.status_code == 200 and first[0] in file.text
