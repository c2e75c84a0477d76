"""The one row that tells allauth of a user's codes. It holds nothing that opens anything.

It exists while its user has TOTP or a passkey, and a batch with a code that can be used. Stock
allauth reads it as a list of no codes, so without this package it refuses every code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from allauth.account.signals import authentication_step_completed
from allauth.mfa.models import Authenticator
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from recovery_backend import signals
from recovery_backend.audit import Event, RecoveryCodeAudit, logger
from recovery_backend.conf import conf
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, lock
from recovery_backend.transactions import in_transaction

PRIMARY = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
KEY = "recovery_backend"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user has, and should have, of allauth's rows for recovery codes."""

    row: Authenticator | None
    """The one there is: a marker, or allauth's own."""
    batch: RecoveryCodeBatch | None
    """The one of which a marker should tell; None: there should be no marker."""

    def is_settled(self, *, ends_list: bool) -> bool:
        """Whether there is nothing to change. A list of allauth's own ends with new codes only."""
        if self.row is not None and not is_marker(self.row):
            return self.batch is None or not ends_list
        if self.batch is None:
            return self.row is None
        return self.row is not None and self.row.data == data_of(self.batch)


def is_marker(authenticator: Authenticator) -> bool:
    """Whether the row is ours, and not one of allauth's own."""
    is_of_type = authenticator.type == Authenticator.Type.RECOVERY_CODES
    return is_of_type and isinstance(authenticator.data, dict) and KEY in authenticator.data


def inert_data() -> dict[str, Any]:
    """A marker of no batch, until `sync` gives it one or deletes it: to allauth, a list of no codes."""
    return {"migrated_codes": [], KEY: 1, "seed": KEY}


def data_of(batch: RecoveryCodeBatch) -> dict[str, Any]:
    """What the marker of a batch holds. A new batch changes it, which ends trust in browsers."""
    return inert_data() | {"seed": f"{KEY}:{batch.pk}"}


def sync(user: AbstractBaseUser, *, ends_list: bool = False) -> Authenticator | None:
    """Make the user's marker agree with their factors and codes; the marker, if there is one.

    A list of allauth's own, which the user may have printed, stays in its place; with `ends_list`
    it ends: they have just generated another one.
    """
    return in_transaction(lambda: _sync(user, ends_list=ends_list))


def _sync(user: AbstractBaseUser, *, ends_list: bool) -> Authenticator | None:
    # The owner first, then the row: the order in which allauth generates its own codes.
    lock(user)
    standing = _standing_of(user.pk)
    row, batch = standing.row, standing.batch
    if standing.is_settled(ends_list=ends_list):
        return row if batch and row is not None and is_marker(row) else None
    if batch is None:
        _delete(row)
        return None
    return _write(row or Authenticator(user_id=user.pk), batch)


def _write(row: Authenticator, batch: RecoveryCodeBatch) -> Authenticator:
    row.type = Authenticator.Type.RECOVERY_CODES
    row.data = data_of(batch)
    row.created_at, row.last_used_at = batch.issued_at, None
    row.save()
    return row


def _delete(row: Authenticator | None) -> None:
    if row is not None:
        row.delete()


def _standing_of(user_id: Any) -> Standing:
    """One query for users without a second factor, two for the others."""
    rows = {row.type: row for row in Authenticator.objects.filter(user_id=user_id)}
    has_factor = any(kind in rows for kind in PRIMARY)
    batch = _usable_batch(user_id) if has_factor else None
    return Standing(rows.get(Authenticator.Type.RECOVERY_CODES), batch)


def _usable_batch(user_id: Any) -> RecoveryCodeBatch | None:
    if conf.LOGIN_MODE == "off":
        return None
    active = {"user_id": user_id, "batch__status": RecoveryCodeBatch.Status.ACTIVE}
    codes = RecoveryCode.objects.usable().filter(**active).select_related("batch")
    return next((code.batch for code in codes[:1]), None)


def connect() -> None:
    """Keep markers in step with whatever changes codes or factors."""
    uid = "recovery_backend_allauth.marker"
    signals.codes_generated.connect(_on_new_codes, dispatch_uid=uid)
    for signal in (signals.code_used, signals.code_invalidated):
        signal.connect(_on_change, dispatch_uid=uid)
    signals.audit_recorded.connect(_on_expiry, dispatch_uid=uid)
    authentication_step_completed.connect(_on_step, dispatch_uid=uid)
    post_save.connect(_on_saved, sender=Authenticator, dispatch_uid=uid)
    post_delete.connect(_on_deleted, sender=Authenticator, dispatch_uid=uid)


def _on_new_codes(sender: object, *, user: AbstractBaseUser, **kwargs: Any) -> None:
    _look_after_commit(user.pk, ends_list=True)


def _on_change(sender: object, *, user: AbstractBaseUser | None = None, **kwargs: Any) -> None:
    if user is not None:
        _look_after_commit(user.pk)


def _on_expiry(sender: object, *, audit: RecoveryCodeAudit, **kwargs: Any) -> None:
    if audit.event == Event.CODE_EXPIRED and audit.user_id is not None:
        _look_after_commit(audit.user_id)


def _on_step(sender: object, *, user: AbstractBaseUser, method: str, **kwargs: Any) -> None:
    """Mend what nobody told of, at the first factor: codes from before this app was installed,
    codes that have expired, rows that were written by SQL.
    """
    if method != "mfa":
        _look_after_commit(user.pk)


def _on_saved(
    sender: object, *, instance: Authenticator, created: bool, raw: bool, **kwargs: Any
) -> None:
    if created and not raw and instance.type in PRIMARY:
        _look_after_commit(instance.user_id)


def _on_deleted(sender: object, *, instance: Authenticator, **kwargs: Any) -> None:
    if instance.type in PRIMARY:
        _look_after_commit(instance.user_id)


def _look_after_commit(user_id: Any, *, ends_list: bool = False) -> None:
    """Never a part of the transaction that it follows: it cannot break it, nor lock against it."""
    try:
        transaction.on_commit(partial(_look, user_id, ends_list=ends_list))
    except Exception as error:
        _log(user_id, error)


def _look(user_id: Any, *, ends_list: bool = False) -> None:
    try:
        if not _standing_of(user_id).is_settled(ends_list=ends_list):
            users = get_user_model()._base_manager.filter(pk=user_id)
            for user in users:  # none where the user is gone as well
                sync(user, ends_list=ends_list)
    except Exception as error:  # a marker that lags is mended at the next sign-in
        _log(user_id, error)


def _log(user_id: Any, error: Exception) -> None:
    # Its type only: a database names values in its messages.
    logger.error("marker not set user=%s: %s", user_id, type(error).__name__)
