"""Codes that allauth generated itself, taken over into our tables. Their seed is kept nowhere."""

from __future__ import annotations

from functools import partial
from typing import Any

from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models.signals import post_save, pre_save
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from recovery_backend.clients import client_of
from recovery_backend.conf import conf
from recovery_backend.emails import Notice
from recovery_backend.models import Adopted, adopt, adoptable, lock
from recovery_backend.transactions import in_transaction
from recovery_backend_allauth import fresh_codes, mail, marker

Codes = list[tuple[str, bool]]


def connect() -> None:
    """Take over what allauth generates, where the site says so (ADOPT_ALLAUTH_CODES)."""
    uid = "recovery_backend_allauth.adoption"
    pre_save.connect(_before_save, sender=Authenticator, dispatch_uid=uid)
    post_save.connect(_after_save, sender=Authenticator, dispatch_uid=uid)


def is_stock(row: Authenticator) -> bool:
    """Whether it is a row of allauth's own recovery codes."""
    return row.type == Authenticator.Type.RECOVERY_CODES and not marker.is_marker(row)


@sensitive_variables()
def codes_of(row: Authenticator) -> Codes:
    """The codes that a row of allauth's stands for, each with whether it is spent.

    By allauth's own reading of it, so that an adapter which encrypts is asked to decrypt. Raises
    what that raises for a row that it cannot read.
    """
    stock = RecoveryCodes(row)
    unused = set(stock.get_unused_codes())
    codes = []
    for code in dict.fromkeys(stock.generate_codes()):
        codes.append((code, code not in unused))  # a comprehension would show it in a report
    return codes


@sensitive_variables()
def would_adopt(row: Authenticator) -> Adopted:
    """The counts that `take_over` would give, with nothing changed. Raises as that does."""
    return adoptable(row.user, codes_of(row))


@sensitive_variables()
def take_over(pk: int) -> Adopted | None:
    """The codes of an existing row, beside those that its user has; None if it is ours already.

    The row is locked meanwhile, so a code that allauth accepts at the same moment is spent in our
    table too, or refused there. Raises, with nothing changed, for a row that cannot be read.
    """
    return in_transaction(lambda: _take_over(pk))


@sensitive_variables()
def _take_over(pk: int) -> Adopted | None:
    found = Authenticator.objects.select_related("user").filter(pk=pk).first()
    if found is None:
        return None
    lock(found.user)  # before the row, in the order in which allauth locks them
    row = Authenticator.objects.select_for_update().filter(pk=pk).first()
    if row is None or not is_stock(row):
        return None
    adopted = adopt(found.user, codes_of(row), replaces=False, issued_at=row.created_at)
    row.data = marker.inert_data()
    row.save(update_fields=["data"])
    marker.sync(found.user)
    return adopted


@sensitive_variables()
def _before_save(
    sender: object, *, instance: Authenticator, raw: bool, update_fields: Any, **kwargs: Any
) -> None:
    if raw or not is_stock(instance):
        return
    if not instance._state.adding:
        if update_fields is None or "data" in update_fields:
            _keep_taken_over(instance)
    elif _is_fresh(instance):
        # So the seed is not even in the statement that writes the row.
        instance._recovery_codes = codes_of(instance)
        instance.data = marker.inert_data()


def _keep_taken_over(instance: Authenticator) -> None:
    """A request that read the row before it was taken over does not bring its seed back."""
    for row in Authenticator.objects.filter(pk=instance.pk):
        if marker.is_marker(row):
            instance.data = row.data


@sensitive_variables()
def _after_save(
    sender: object, *, instance: Authenticator, created: bool, raw: bool, **kwargs: Any
) -> None:
    if not created or raw or not _is_on():
        return
    codes: Codes = instance.__dict__.pop("_recovery_codes", [])
    if codes:
        _adopt_fresh(instance, codes)
    elif instance.type in marker.PRIMARY:
        # Who has codes already gets no second list with the first factor.
        marker.sync(instance.user)


@sensitive_variables()
def _adopt_fresh(row: Authenticator, codes: Codes) -> None:
    @sensitive_variables()
    def work() -> None:
        _replace_codes(row, codes)

    in_transaction(work)


@sensitive_variables()
def _replace_codes(row: Authenticator, codes: Codes) -> None:
    user, request = row.user, _request_of(row.user)
    adopted = adopt(
        user,
        codes,
        replaces=True,
        client=client_of(request),
        actor=user,
        seal=partial(fresh_codes.keep, request, user) if request else None,
    )
    if adopted.entry is not None:
        mail.tell(Notice.CODES_GENERATED, adopted.entry)
    if (synced := marker.sync(user)) is not None:
        row.data = synced.data


def _is_fresh(row: Authenticator) -> bool:
    """Whether its owner is having it generated now: who else could be shown the codes?"""
    factors = Authenticator.objects.filter(user_id=row.user_id, type__in=marker.PRIMARY)
    return _is_on() and _request_of(row.user) is not None and factors.exists()


def _request_of(user: AbstractBaseUser) -> HttpRequest | None:
    request: HttpRequest | None = context.request
    is_owner = request is not None and request.user.pk == user.pk
    return request if is_owner else None


def _is_on() -> bool:
    return bool(conf.ADOPT_ALLAUTH_CODES) and conf.LOGIN_MODE != "off"
