"""What the endpoints of keys answer."""

from __future__ import annotations

from rest_framework import serializers

from recovery_backend_api.answers import PageAnswer
from recovery_backend_api.fields import Moment
from recovery_backend_api.keys.models import ApiKey


class KeyAnswer(serializers.Serializer):  # type: ignore[misc]
    prefix = serializers.CharField(help_text="The public part, by which the key is known.")
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=ApiKey.State.values)
    created_at = Moment()
    expires_at = Moment(allow_null=True)
    last_used_at = Moment(allow_null=True, help_text="To the minute.")
    revoked_at = Moment(allow_null=True)


class NewKeyAnswer(KeyAnswer):
    key = serializers.CharField(help_text="The whole key, this one time.")


class KeyPage(PageAnswer):
    results = KeyAnswer(many=True)
