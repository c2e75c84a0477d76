"""Sent after the transaction commits. No signal carries a code, a digest or a key.

All but the last pass `user`, the account's owner (or None where nobody could be named).

codes_generated     batch
code_used           code (its row), audit
code_rejected       reason (a value of `audit.Reason`), audit
cooldown_started    wait_seconds
codes_delivered     batch, how ("download" or "email")
code_invalidated    batch, number_of_codes
codes_purged        number_of_codes, number_of_batches
owner_notified      notice (a value of `emails.Notice`), audit: the owner is to be told of this,
                    whether or not an e-mail can be sent; for messengers and webhooks
audit_recorded      audit (the row), level (of `logging`), owasp (its name in OWASP's vocabulary)
"""

from __future__ import annotations

from django.dispatch import Signal

codes_generated = Signal()
code_used = Signal()
code_rejected = Signal()
cooldown_started = Signal()
codes_delivered = Signal()
code_invalidated = Signal()
codes_purged = Signal()
owner_notified = Signal()
audit_recorded = Signal()
