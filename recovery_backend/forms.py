"""What people type, at the edge where it turns into digests: no form ever holds a code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from recovery_backend import codes, flows
from recovery_backend.addresses import MAX_LENGTH
from recovery_backend.codes import PresentedCode
from recovery_backend.conf import conf
from recovery_backend.exceptions import CooldownActive, NotVerified
from recovery_backend.models import MAX_DAYS_TO_EXPIRE

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class RecoveryCodeInput(forms.TextInput):
    """A text input that hands on a `PresentedCode` and never renders what was typed (R-85)."""

    @sensitive_variables()
    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        typed = data.get(name)
        return PresentedCode(typed) if typed else None

    def format_value(self, value: Any) -> None:
        return None


class RecoveryCodeField(forms.Field):
    """One recovery code, in one input that takes pasted lines, spaces and dashes (R-130)."""

    length = codes.LENGTH
    widget = RecoveryCodeInput(
        attrs={
            "autocomplete": "one-time-code",
            "autocapitalize": "none",
            "autocorrect": "off",
            "spellcheck": "false",
        }
    )


class DaysToExpireForm(forms.Form):
    """After how many days new codes expire; empty for never."""

    days_to_expire = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_DAYS_TO_EXPIRE,
        error_messages={"invalid": _("Enter a whole number of days, or leave the field empty.")},
    )


@sensitive_variables()
def presented_code(request: HttpRequest) -> PresentedCode:
    """The code that was typed into a form of one field; one that matches nothing if none was."""
    return PresentedCode(request.POST.get("recovery_code", ""))


class RecoveryLoginForm(forms.Form):
    """E-mail address and recovery code; the password too where the site asks for both."""

    email = forms.EmailField(
        label=_("E-mail address"),
        max_length=MAX_LENGTH,
        widget=forms.EmailInput(attrs={"autocomplete": "email", "autocapitalize": "none"}),
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    recovery_code = RecoveryCodeField(
        label=_("Recovery code"),
        help_text=_("One unused code from your list. Spaces and dashes do not matter."),
    )

    refused = _(
        "This did not work. Check the e-mail address and type one unused code again. "
        "Capital and small letters are different."
    )

    unverified = _(
        "First confirm your e-mail address: we have sent you a message. Your code was not used."
    )

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.user: User | None = None
        self.wait_seconds = 0
        if conf.LOGIN_MODE != "second_factor":
            del self.fields["password"]

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = self.cleaned_data
        if self.errors:
            return data
        try:
            self.user = flows.check_credentials(
                self.request, data["email"], data["recovery_code"], data.get("password")
            )
        except CooldownActive as cooldown:
            self.wait_seconds = cooldown.wait_seconds
        except NotVerified:
            raise ValidationError(self.unverified, code="unverified") from None
        if self.user is None:
            raise ValidationError(self.refused, code="refused")
        return data

    def get_user(self) -> User | None:
        """The user who proved to be the owner; None before the form is valid."""
        return self.user
