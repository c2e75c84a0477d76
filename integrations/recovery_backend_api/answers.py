"""What each endpoint answers."""

from __future__ import annotations

from rest_framework import serializers

from recovery_backend.history import WARNINGS
from recovery_backend.models import RecoveryCodeBatch
from recovery_backend_api.fields import Moment, Secret

EMAIL_STATES = ("none", "queued", "sent", "failed")


class BatchAnswer(serializers.Serializer):  # type: ignore[misc]
    id = serializers.UUIDField(source="public_id")
    status = serializers.ChoiceField(choices=RecoveryCodeBatch.Status.choices)
    issued_at = Moment()
    expires_at = Moment(allow_null=True)
    is_expired = serializers.BooleanField()
    is_emergency = serializers.BooleanField()
    total = serializers.IntegerField(source="number_issued")
    left = serializers.IntegerField(source="number_left")
    used = serializers.IntegerField(source="number_used")
    invalidated = serializers.IntegerField(source="number_deactivated")
    deleted = serializers.IntegerField(source="number_removed")
    has_viewed = serializers.BooleanField()
    has_downloaded = serializers.BooleanField()
    email_state = serializers.ChoiceField(choices=EMAIL_STATES, source="shown_email_state")


class WaitAnswer(serializers.Serializer):  # type: ignore[misc]
    generate = serializers.IntegerField(help_text="Seconds until codes may be generated again.")
    email = serializers.IntegerField(help_text="Seconds until codes may be e-mailed again.")


class StatusAnswer(serializers.Serializer):  # type: ignore[misc]
    left = serializers.IntegerField()
    total = serializers.IntegerField()
    warning = serializers.ChoiceField(
        choices=WARNINGS, allow_null=True, help_text="The most urgent one; null if all is well."
    )
    has_passed_test = serializers.BooleanField()
    refused_sign_ins = serializers.IntegerField(
        help_text="With the account's address, since the last sign-in by code."
    )
    wait_seconds = WaitAnswer()
    batch = BatchAnswer(allow_null=True)


class ActivityAnswer(serializers.Serializer):  # type: ignore[misc]
    at = Moment()
    event = serializers.CharField()
    detail = serializers.CharField(source="text")
    network = serializers.CharField(help_text="The owner's own, shortened; empty for others.")
    is_refusal = serializers.BooleanField()


class PageAnswer(serializers.Serializer):  # type: ignore[misc]
    count = serializers.IntegerField(help_text="On all pages.")
    page = serializers.IntegerField()
    pages = serializers.IntegerField()


class BatchesAnswer(PageAnswer):
    results = BatchAnswer(many=True)


class ActivitiesAnswer(PageAnswer):
    results = ActivityAnswer(many=True)


class GeneratedAnswer(serializers.Serializer):  # type: ignore[misc]
    batch = BatchAnswer()
    codes = serializers.ListField(child=Secret(), help_text="Shown this one time.")
    delivery_key = Secret(
        help_text="With it, this session may download and e-mail the same codes."
    )
    deliverable_until = Moment()


class DoneAnswer(serializers.Serializer):  # type: ignore[misc]
    detail = serializers.CharField()


class EmailAnswer(serializers.Serializer):  # type: ignore[misc]
    email_state = serializers.ChoiceField(choices=EMAIL_STATES)


class SignInFormAnswer(serializers.Serializer):  # type: ignore[misc]
    csrf_token = Secret(help_text="For the header X-CSRFToken; another one after each sign-in.")
    is_open = serializers.BooleanField()
    needs_password = serializers.BooleanField()
    redirect_to = serializers.CharField(
        allow_null=True, help_text="Where the password comes first, and a code after it."
    )


class SignInAnswer(serializers.Serializer):  # type: ignore[misc]
    is_authenticated = serializers.BooleanField()
    redirect_to = serializers.CharField(
        allow_null=True, help_text="Where the rest of the sign-in is done, if there is any."
    )


class ProblemAnswer(serializers.Serializer):  # type: ignore[misc]
    code = serializers.CharField(help_text="The site's own middleware may add others.")
    detail = serializers.CharField()
    wait_seconds = serializers.IntegerField(required=False)
    redirect_to = serializers.CharField(required=False)
    fields = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()), required=False
    )
