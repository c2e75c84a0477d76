"""A user model unlike Django's: a UUID key, a renamed e-mail field, and no `is_active` column."""

from __future__ import annotations

import uuid

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models


class MemberManager(BaseUserManager):
    def create_user(self, handle, contact, password=None):
        member = self.model(handle=handle, contact=contact)
        member.set_password(password)
        member.save(using=self._db)
        return member


class Member(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    handle = models.CharField(max_length=40, unique=True)
    contact = models.EmailField()

    USERNAME_FIELD = "handle"
    EMAIL_FIELD = "contact"

    objects = MemberManager()

    class Meta:
        swappable = "AUTH_USER_MODEL"
