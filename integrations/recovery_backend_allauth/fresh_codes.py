"""The codes that allauth has just generated, for its own pages: once shown, once as a file.

What is kept of them is ciphertext in the row of their batch. A browser has a part of its key in a
cookie; a client without cookies has none, so there the session and the site's own key open it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from allauth.mfa import app_settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit, stash
from recovery_backend.audit import Event
from recovery_backend.codes import PresentedCode
from recovery_backend.conf import conf
from recovery_backend.flows.guards import entry_of
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.stash import Stashed
from recovery_backend.transactions import in_transaction
from recovery_backend_allauth.refusals import headless_client

APP = "app"
DOWNLOAD = "mfa_download_recovery_codes"


@sensitive_variables()
def keep(
    request: HttpRequest, user: AbstractBaseUser, batch_id: UUID, codes: Sequence[str]
) -> str:
    """The codes, sealed for this session; for the batch's row."""
    if not _is_app(request):
        return stash.keep(request, user, batch_id, codes, purpose="step")
    expires_at = timezone.now() + timedelta(seconds=conf.STASH_TTL)
    return stash.seal("step", user, batch_id, expires_at, codes, APP, _session_key(request))


@sensitive_variables()
def are_waiting(request: HttpRequest | None, user: AbstractBaseUser) -> bool:
    """Whether this session may still see the codes that nobody has seen yet."""
    batch = _batch_of(request, user)
    return batch is not None and not batch.has_viewed and _read(request, user, batch) is not None


@sensitive_variables()
def claim(request: HttpRequest | None, user: AbstractBaseUser) -> None:
    """Let this request show the codes, or have them as a file, if no other has before (R-74)."""
    if request is None or _is_prefetch(request):
        return
    batch = _batch_of(request, user)
    stashed = _read(request, user, batch) if batch else None
    if batch is None or stashed is None:
        return
    is_claimed = in_transaction(lambda: _claim(request, user, batch))
    if is_claimed:
        request._recovery_fresh_codes = stashed.codes  # type: ignore[attr-defined]
        stash.note_shown(request)
    _forget_if_all_delivered(request, batch)


@sensitive_variables()
def of_request(request: HttpRequest | None, user: AbstractBaseUser) -> list[str]:
    """The codes that this request may show and that nobody has used since."""
    shown = getattr(request, "_recovery_fresh_codes", ())
    if not shown:
        return []
    usable = RecoveryCode.objects.usable().of_user(user)
    left = set(usable.values_list("digest", flat=True))
    unused = []
    for code in shown:  # a comprehension's variables would show in an error report
        if left & set(PresentedCode(code).short_digests(user.pk)):
            unused.append(code)
    return unused


def is_download(request: HttpRequest | None) -> bool:
    """Whether it is allauth's file of codes that was asked for."""
    match = getattr(request, "resolver_match", None)
    return match is not None and match.url_name == DOWNLOAD


def _claim(request: HttpRequest, user: AbstractBaseUser, batch: RecoveryCodeBatch) -> bool:
    is_file = is_download(request)
    if not (batch.mark_downloaded() if is_file else batch.mark_viewed()):
        return False
    event = Event.BATCH_DOWNLOADED if is_file else Event.BATCH_VIEWED
    audit.record(entry_of(user, event, request, batch=batch.pk))
    return True


def _batch_of(request: HttpRequest | None, user: AbstractBaseUser) -> RecoveryCodeBatch | None:
    is_owner = request is not None and request.user.pk == user.pk
    batch = RecoveryCodeBatch.objects.active_of(user) if is_owner else None
    return batch if batch is not None and batch.sealed else None


@sensitive_variables()
def _read(
    request: HttpRequest | None, user: AbstractBaseUser, batch: RecoveryCodeBatch
) -> Stashed | None:
    if request is None:
        return None
    if not _is_app(request):
        return stash.read(request, user, batch.public_id, batch.sealed, purpose="step")
    parts = (APP, _session_key(request))
    return stash.unseal("step", user, batch.public_id, batch.sealed, *parts)


def _forget_if_all_delivered(request: HttpRequest, batch: RecoveryCodeBatch) -> None:
    # allauth offers no file of codes that it shows once, nor do its clients ask for one.
    is_once = app_settings.RECOVERY_CODES_SHOW_ONCE or headless_client(request) is not None
    if is_once or (batch.has_viewed and batch.has_downloaded):
        RecoveryCodeBatch.objects.filter(pk=batch.pk).forget_sealed()
        stash.forget(request)


def _session_key(request: HttpRequest) -> str:
    if request.session.session_key is None:
        request.session.save()
    return str(request.session.session_key)


def _is_app(request: HttpRequest) -> bool:
    return headless_client(request) == APP


def _is_prefetch(request: HttpRequest) -> bool:
    purpose = f"{request.headers.get('Sec-Purpose', '')} {request.headers.get('Purpose', '')}"
    return request.method == "HEAD" or "prefetch" in purpose
