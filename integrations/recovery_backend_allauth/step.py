"""What allauth asks of a list of recovery codes, answered by this package's tables."""

from __future__ import annotations

from typing import Any

from allauth.core import context
from allauth.mfa.models import Authenticator
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend import flows
from recovery_backend.codes import PresentedCode
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend_allauth import fresh_codes, records
from recovery_backend_allauth.marker import is_marker

UNSEEN = "•" * 8


class Hidden(list[str]):
    """Placeholders in the place of codes that cannot be shown; templates say why."""

    are_hidden = True


class BatchCodes:
    """The codes of a marker's user, as allauth's wrapper of recovery codes."""

    def __init__(self, instance: Authenticator) -> None:
        self.instance = instance

    @sensitive_variables()
    def validate_code(self, code: str) -> bool:
        """Spend this code, once (R-21); False when it is refused. allauth has counted the try."""
        request, user = context.request, self.instance.user
        if not takes_codes(request, user):
            return False
        return flows.use_at_step(request, user, PresentedCode(code))

    def generate_codes(self) -> list[str]:
        """As many placeholders as there were codes: allauth counts them."""
        batch = RecoveryCodeBatch.objects.active_of(self.instance.user)
        return [UNSEEN] * (batch.number_issued if batch else 0)

    @sensitive_variables()
    def get_unused_codes(self) -> list[str]:
        """Fresh codes of allauth's own, once; else as many placeholders as codes can be used."""
        request, user = context.request, self.instance.user
        if fresh_codes.is_download(request):
            fresh_codes.claim(request, user)
        if shown := fresh_codes.of_request(request, user):
            return shown
        return Hidden([UNSEEN] * RecoveryCode.objects.usable().of_user(user).count())

    @property
    def did_view(self) -> bool:
        """Whether nothing is left to be seen; our own codes are shown by the dashboard only."""
        return not fresh_codes.are_waiting(context.request, self.instance.user)

    def mark_as_viewed(self) -> None:
        """Let this request show fresh codes, and no later one."""
        if not fresh_codes.is_download(context.request):
            fresh_codes.claim(context.request, self.instance.user)


def takes_codes(request: HttpRequest | None, user: AbstractBaseUser) -> bool:
    """Whether a code proves anything now: not at the second step after another of its list (R-37)."""
    if request is None or request.user.is_authenticated:
        return True
    return not records.is_by_code_alone(records.of_user(request, user))


stock_wrap = Authenticator.wrap
stock_record_usage = Authenticator.record_usage


def wrap(self: Authenticator) -> Any:
    """`Authenticator.wrap`, with ours for markers."""
    return BatchCodes(self) if is_marker(self) else stock_wrap(self)


def record_usage(self: Authenticator) -> None:
    """`Authenticator.record_usage`, also of a marker that went with the last code.

    The stock one raises where there is no row, after the code was spent.
    """
    if not is_marker(self):
        stock_record_usage(self)
        return
    self.last_used_at = timezone.now()
    Authenticator.objects.filter(pk=self.pk).update(last_used_at=self.last_used_at)


def install() -> None:
    """Answer for markers, wherever allauth asks for a code: pages, headless, reauthentication."""
    Authenticator.wrap = wrap
    Authenticator.record_usage = record_usage


def is_installed() -> bool:
    """Whether `install` holds, and no other package has replaced it."""
    return Authenticator.wrap is wrap and Authenticator.record_usage is record_usage
