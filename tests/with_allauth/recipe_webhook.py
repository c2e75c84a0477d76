"""Tell a chat, a bot or any other webhook what owners are told."""

from __future__ import annotations

import json
import logging
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from django.conf import settings
from django.db import transaction
from django_q.tasks import async_task

from recovery_backend.signals import owner_notified

logger = logging.getLogger(__name__)
TIMEOUT_SECONDS = 5


def on_notice(sender, *, user, notice, audit, **kwargs):
    """Hand the message to the worker: a person waits for this response."""
    if user is None:
        return
    text = f"{audit.get_event_display()} · user {user.pk} · {audit.at:%Y-%m-%d %H:%M} UTC"
    with transaction.atomic():
        async_task(post, {"text": text}, save=False)


def post(message):
    """Post one message; whether it was taken. Raises nothing: nobody can do better later."""
    url = settings.OWNER_NOTICE_WEBHOOK
    if urlsplit(url).scheme not in {"https", "http"}:
        return False
    body = json.dumps(message).encode()
    request = Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            return answer.status < 300
    except (OSError, ValueError) as error:
        # Its type only: the address of a webhook is a secret, and errors may name it.
        logger.warning("webhook: %s", type(error).__name__)
        return False


owner_notified.connect(on_notice, dispatch_uid="owner_notices")
