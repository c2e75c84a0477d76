"""What the project's own accounts decide: who may come in, how, and where their mail goes.

Django's accounts answer by themselves. An integration answers in their place, all in one class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth import login
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.mail import EmailMultiAlternatives
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.debug import sensitive_variables

from recovery_backend.addresses import email_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TEMPLATES = "recovery_backend/email"


class Accounts:
    """The accounts of django.contrib.auth."""

    def is_verified(self, user: AbstractBaseUser) -> bool:
        """Whether the site lets this account in as it is. Asked before a code is spent."""
        return True

    def help_in(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """Help the owner of an unspent code, whose account is not verified, to verify it."""

    def second_step_url(self) -> str | None:
        """Where a password comes first, and a code second; None: the page of this package asks."""
        return None

    def step_up_url(
        self, request: HttpRequest, wanted: str, *, outlives_session: bool = False
    ) -> str | None:
        """Where this session proves more before it may change codes; None where it may.

        `wanted` is where the user goes on from there. What outlives the session, as an API key
        does, may ask for more than what a session by code alone is for.
        """
        return None

    def confirm_url(self, request: HttpRequest, wanted: str) -> str | None:
        """Where somebody who is signed in confirms that it is them; None: they sign in anew.

        `wanted` is where they go on from there. Who answers this calls `flows.note_sign_in`
        when it is confirmed.
        """
        return None

    def sign_in(
        self, request: HttpRequest, user: AbstractBaseUser, url: str
    ) -> HttpResponse | None:
        """Begin the session of a user whose code was spent.

        None when they are signed in, and go to `url`; else what they see instead: a further step,
        or a page that says why not. Who answers that calls `flows.note_code_sign_in` when the
        session begins, however much later.
        """
        login(request, cast("User", user))
        return None

    def delivery_address(self, user: AbstractBaseUser) -> str:
        """Where codes may be sent to: an address that is known to be the owner's; "" for none."""
        return email_of(user)

    def send_notice(self, name: str, address: str, context: dict[str, Any]) -> None:
        """Send the message of that name. Raises what the mail backend raises."""
        send_message(name, address, context)


_accounts = Accounts()


def of_site() -> Accounts:
    """The accounts that answer on this site."""
    return _accounts


def use(accounts: Accounts) -> None:
    """Let these accounts answer, from `AppConfig.ready()` of an integration."""
    global _accounts
    _accounts = accounts


@sensitive_variables()
def send_message(name: str, address: str, context: dict[str, Any], sender: str = "") -> None:
    """Send the message of that name: a subject, a text and an HTML template."""
    templates = f"{TEMPLATES}/{name}"
    subject = render_to_string(f"{templates}_subject.txt", context)
    message = EmailMultiAlternatives(
        subject=" ".join(subject.split()),
        body=render_to_string(f"{templates}_message.txt", context),
        from_email=sender or None,
        to=[address],
        headers={"Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(render_to_string(f"{templates}_message.html", context), "text/html")
    message.send()
