"""Fields that take a value of their own type only: "true" is no boolean, and 1 no text (R-102)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import ISO_8601, serializers
from rest_framework.exceptions import ValidationError
from rest_framework.settings import api_settings

from recovery_backend.codes import PresentedCode
from recovery_backend_api.masked import Masked


class Text(serializers.CharField):  # type: ignore[misc]
    """A text, with its spaces."""

    default_error_messages = {"invalid": _("This must be a text.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    @sensitive_variables()
    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid")
        return data


class Whole(serializers.IntegerField):  # type: ignore[misc]
    """A whole number."""

    default_error_messages = {"invalid": _("This must be a whole number.")}

    def to_internal_value(self, data: Any) -> Any:
        if type(data) is not int:  # a bool is one, for Python
            self.fail("invalid")
        return data


class Truth(serializers.BooleanField):  # type: ignore[misc]
    """true or false."""

    default_error_messages = {"invalid": _("This must be true or false.")}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class Choice(serializers.ChoiceField):  # type: ignore[misc]
    """One of some texts."""

    default_error_messages = {"invalid_choice": _("This is none of the choices.")}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in self.choices:
            self.fail("invalid_choice")
        return str(data)


class BatchId(serializers.UUIDField):  # type: ignore[misc]
    """The id of a batch, in its usual form."""

    default_error_messages = {"invalid": _("This must be the id of a batch.")}

    def to_internal_value(self, data: Any) -> str:
        try:
            is_plain = isinstance(data, str) and str(UUID(data)) == data.lower()
        except ValueError:
            is_plain = False
        if not is_plain:
            self.fail("invalid")
        return str(data)


class Secret(serializers.CharField):  # type: ignore[misc]
    """A text that the answer shows, and an error report does not."""

    def to_representation(self, value: Any) -> Masked:
        return Masked(value)


class Moment(serializers.DateTimeField):  # type: ignore[misc]
    """A moment in ISO 8601, whatever a project's own endpoints write."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format=ISO_8601, **kwargs)


@extend_schema_field(OpenApiTypes.STR)
class RecoveryCode(Text):
    """A code, which becomes digests as it is read; whatever was typed is one that matches nothing."""

    @sensitive_variables()
    def to_internal_value(self, data: Any) -> PresentedCode:
        return PresentedCode(super().to_internal_value(data))


class Inputs(serializers.Serializer):  # type: ignore[misc]
    """What a client sends. A field that is not known is refused, so that no typing error is lost."""

    def to_internal_value(self, data: Any) -> Any:
        if set(data) - set(self.fields):
            # Not named: nobody knows what was typed in its place.
            text = _("Only these fields are known here: %(names)s.")
            known = ", ".join(self.fields)
            raise ValidationError({api_settings.NON_FIELD_ERRORS_KEY: [text % {"names": known}]})
        return super().to_internal_value(data)
