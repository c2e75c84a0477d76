"""The journeys of a person: the only place that joins request, session, rows and messages.

A page, the JSON API and a command call the same function.
"""

from recovery_backend.flows.batches import (
    delete_all,
    delete_code,
    generate,
    invalidate_code,
    verify,
)
from recovery_backend.flows.delivery import (
    Plaintext,
    download,
    drop_stale_plaintext,
    email_codes,
    email_state,
    forget_on_sign_out,
    forget_plaintext,
    plaintext_of,
)
from recovery_backend.flows.entry import (
    check_credentials,
    clear_cooldown,
    note_code_sign_in,
    note_other_sign_in,
    note_sign_in,
    reopen_on_sign_in,
    second_step_url,
    sign_in,
    wait_seconds,
)
from recovery_backend.flows.guards import (
    active_batch,
    confirm_url,
    count_action,
    require_recent_sign_in,
    require_second_factor,
)
from recovery_backend.flows.step import use_at_step
from recovery_backend.flows.support import (
    can_help,
    clear_waits,
    emergency_refusal,
    end_codes,
    require_new_batch,
    require_rank,
    revoke_codes,
    send_emergency_code,
)

__all__ = [
    "Plaintext",
    "active_batch",
    "can_help",
    "check_credentials",
    "clear_cooldown",
    "clear_waits",
    "confirm_url",
    "count_action",
    "delete_all",
    "delete_code",
    "download",
    "drop_stale_plaintext",
    "email_codes",
    "email_state",
    "emergency_refusal",
    "end_codes",
    "forget_on_sign_out",
    "forget_plaintext",
    "generate",
    "invalidate_code",
    "note_code_sign_in",
    "note_other_sign_in",
    "note_sign_in",
    "plaintext_of",
    "reopen_on_sign_in",
    "require_new_batch",
    "require_rank",
    "require_recent_sign_in",
    "require_second_factor",
    "revoke_codes",
    "second_step_url",
    "send_emergency_code",
    "sign_in",
    "use_at_step",
    "verify",
    "wait_seconds",
]
