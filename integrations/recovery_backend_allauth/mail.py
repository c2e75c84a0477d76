"""The request by which allauth's adapter names the site in a message, where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from allauth.core import context
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from recovery_backend.conf import conf


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
