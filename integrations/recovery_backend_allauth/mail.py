"""Messages to owners: which of them allauth sends itself, and the request that its adapter needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from allauth.account import app_settings as account_settings
from allauth.core import context
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from recovery_backend import signals, tasks
from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.conf import conf
from recovery_backend.emails import Notice


class NobodysRequest(HttpRequest):
    """A request of nobody to the site itself."""

    def __init__(self) -> None:
        super().__init__()
        self.user = AnonymousUser()

    def get_host(self) -> str:
        """What allauth puts before a subject where django.contrib.sites does not say it."""
        if conf.SITE_NAME and not apps.is_installed("django.contrib.sites"):
            return conf.SITE_NAME
        hosts = (host.lstrip(".") for host in settings.ALLOWED_HOSTS)
        return next((host for host in hosts if _is_name(host)), "localhost")


def tell(notice: Notice, entry: RecoveryCodeAudit) -> None:
    """Tell the owner of what allauth may tell them too, so that they get one message of it."""
    if not account_settings.EMAIL_NOTIFICATIONS:
        tasks.notify(notice, entry)
    elif conf.NOTIFY:  # allauth sends the message itself; messengers hear of it from us
        tasks.send_on_commit(signals.owner_notified, user=entry.user, notice=notice, audit=entry)


@contextmanager
def mail_request() -> Iterator[None]:
    """Let allauth's adapter send a message to an owner, in a worker too.

    Also where somebody else's request is at hand: whoever fails to sign in must not choose by a
    Host header what the owner reads in a subject (R-95).
    """
    with context.request_context(NobodysRequest()):
        yield


def _is_name(host: str) -> bool:
    return "." in host and host[-1].isalpha()
