"""A seal as a row."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recovery_backend.keys import Key


class RecoveryCodeAuditSeal(models.Model):
    """A seal over some audit rows in a row, and over the seal before it."""

    number = models.BigIntegerField(_("number"), unique=True, editable=False)
    first_row = models.BigIntegerField(_("first row"), editable=False)
    last_row = models.BigIntegerField(_("last row"), editable=False)
    # The digest of the seal before, also after that one was purged; "" in the first of all.
    previous = models.CharField(max_length=64, blank=True, editable=False)
    # Short HMACs of each row, so that an altered one can be named.
    row_digests = models.TextField(editable=False)
    digest = models.CharField(max_length=64, editable=False)
    key_id = models.CharField(max_length=12, editable=False)
    sealed_at = models.DateTimeField(_("sealed"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("seal of the audit")
        verbose_name_plural = _("seals of the audit")

    def __str__(self) -> str:
        return f"{self.number}: {self.first_row}-{self.last_row}"

    @property
    def head(self) -> str:
        """What to keep elsewhere: whoever has it notices when this seal, or one before, is gone."""
        return f"{self.number}:{self.digest}"

    def digest_under(self, key: Key) -> str:
        """The digest that this seal has if nothing of it was altered."""
        numbers = map(str, (self.number, self.first_row, self.last_row))
        parts = (*numbers, utc_text(self.sealed_at), self.previous)
        return key.mac("seal", "seal", *parts, self.row_digests).hex()

    def is_genuine(self, keys: Mapping[str, Key]) -> bool:
        """Whether one of these keys made it, and nobody altered it since."""
        key = keys.get(self.key_id)
        return key is not None and hmac.compare_digest(
            self.digest.encode(), self.digest_under(key).encode()
        )


def utc_text(moment: datetime) -> str:
    """A moment as text, the same for whatever time zone it was read in."""
    in_utc = moment.astimezone(UTC) if timezone.is_aware(moment) else moment
    return in_utc.isoformat(timespec="microseconds")
