"""What each endpoint takes."""

from __future__ import annotations

from recovery_backend import exports
from recovery_backend.models import MAX_DAYS_TO_EXPIRE
from recovery_backend.stash import KEY_BYTES
from recovery_backend_api.fields import BatchId, Choice, Inputs, RecoveryCode, Text, Truth, Whole


class SignInInputs(Inputs):
    email = Text()
    recovery_code = Text()
    password = Text(required=False, help_text="Where the site asks for a password as well.")


class GenerateInputs(Inputs):
    days_to_expire = Whole(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MAX_DAYS_TO_EXPIRE,
        help_text="Days after which the new codes expire; null for never.",
    )
    replace = Truth(default=False, help_text="Whether codes that are active may be replaced.")


class CodeInputs(Inputs):
    recovery_code = RecoveryCode()


class BatchInputs(Inputs):
    batch = BatchId(help_text="The active batch: older ones cannot be changed.")


class DeliveryInputs(BatchInputs):
    delivery_key = Text(
        min_length=2 * KEY_BYTES,
        max_length=2 * KEY_BYTES,
        help_text="As it came with the codes.",
    )


class DownloadInputs(DeliveryInputs):
    format = Choice(choices=exports.FORMATS, required=False, help_text="DEFAULT_FORMAT if none.")
