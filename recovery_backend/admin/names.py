"""Who a user is, as far as an administrator may see it: whole for those who may view users."""

from __future__ import annotations

from django.contrib.auth import get_permission_codename, get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from recovery_backend.addresses import email_of, masked_email


def may_view_users(request: HttpRequest) -> bool:
    """Whether this administrator sees names and addresses whole."""
    meta = get_user_model()._meta
    codes = (get_permission_codename(action, meta) for action in ("view", "change"))
    return any(request.user.has_perm(f"{meta.app_label}.{code}") for code in codes)


def name_of(request: HttpRequest, user: AbstractBaseUser) -> str:
    """The user's name; for others enough of it to compare it with one that they are told."""
    name = user.get_username()
    return name if may_view_users(request) else masked_email(name)


def address_of(request: HttpRequest, user: AbstractBaseUser) -> str:
    """The user's e-mail address, in the same way."""
    address = email_of(user)
    return address if may_view_users(request) else masked_email(address)
