"""What the endpoints of keys take."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ValidationError

from recovery_backend.conf import conf
from recovery_backend_api.fields import Inputs, Text, Whole
from recovery_backend_api.keys.models import MAX_NAME_LENGTH
from recovery_backend_api.keys.tokens import MAX_PREFIX_LENGTH


class KeyInputs(Inputs):
    name = Text(max_length=MAX_NAME_LENGTH, help_text="What the key is for, on one line.")
    days_to_expire = Whole(
        allow_null=True, min_value=1, help_text="null for never, where the site allows it."
    )

    def validate_name(self, name: str) -> str:
        if not name.strip() or not name.isprintable():
            raise ValidationError(_("Give the key a name, on one line."))
        return name.strip()

    def validate_days_to_expire(self, days: int | None) -> int | None:
        if days is None and not conf.API_KEY_ALLOW_NO_EXPIRY:
            raise ValidationError(_("On this site every API key has to expire."))
        if days is not None and days > conf.API_KEY_MAX_DAYS:
            text = _("The longest life of an API key, in days: %(days)d.")
            raise ValidationError(text % {"days": conf.API_KEY_MAX_DAYS})
        return days


class PrefixInputs(Inputs):
    prefix = Text(max_length=MAX_PREFIX_LENGTH, help_text="The part of the key before its dot.")
