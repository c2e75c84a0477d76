"""Names and addresses of people in the admin: for whom they are whole."""

from __future__ import annotations

import re

import pytest

from recovery_backend import audit
from recovery_backend.audit import Event
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeEmailLog,
    RecoveryCodeSetup,
)
from tests.admin.conftest import act, cell, rows, told, url, view


class TestNames:
    """Names and addresses are whole for those who may view users, and for nobody else."""

    NAME = "secret.person@example.org"
    MASKED = "s•••@e•••.org"

    @pytest.fixture
    def person(self, make_user):
        return make_user(self.NAME, username=self.NAME, is_superuser=True)

    @pytest.fixture
    def rows_of(self, person, make_codes):
        """A row of the person in each table that names somebody."""
        make_codes(person)
        batch = RecoveryCodeBatch.objects.get(user=person)
        RecoveryCodeSetup.objects.create(user=person)
        RecoveryCodeEmailLog.objects.create(
            user=person, batch=batch.public_id, recipient=self.NAME, state="sent"
        )
        event = audit.entry(Event.COOLDOWN_CLEARED, user=person, actor=person)
        audit.record(event)
        return person

    OF_PEOPLE = [
        RecoveryCodeBatch,
        RecoveryCode,
        RecoveryCodeSetup,
        RecoveryCodeAudit,
        RecoveryCodeEmailLog,
    ]

    def pages(self, model, person):
        row = model.objects.filter(user=person).last()
        yield url(model)
        yield f"{url(model)}?user={person.pk}"
        yield f"{url(model)}?q={self.NAME}"
        yield url(model, "change", row.pk)

    @pytest.mark.parametrize("model", OF_PEOPLE)
    def test_who_may_look_at_a_table_only_sees_no_whole_name(self, model, rows_of, make_staff):
        staff = make_staff(view(model))
        for page in self.pages(model, rows_of):
            text = staff.get(page).text
            assert self.MASKED in text, page
            assert self.NAME not in text.replace(f'value="{self.NAME}"', ""), page

    @pytest.mark.parametrize("model", OF_PEOPLE)
    @pytest.mark.parametrize("permission", ["view_user", "change_user"])
    def test_who_may_look_at_users_sees_names_whole(self, model, permission, rows_of, make_staff):
        staff = make_staff(view(model), permission)
        for page in self.pages(model, rows_of):
            text = staff.get(page).text
            assert self.NAME in text and self.MASKED not in text, page

    @pytest.mark.parametrize("model", OF_PEOPLE)
    def test_users_without_a_row_are_not_listed_by_their_numbers(self, model, person, make_staff):
        page = make_staff(view(model)).get(url(model), {"user": person.pk})
        assert rows(page) == [] and self.NAME not in page.text

    def test_a_name_that_is_no_address_is_masked_too(self, site, user, make_staff):
        page = make_staff("view_recoverycodebatch").get(url(RecoveryCodeBatch))
        assert cell(page, "owner") == "o•••"

    def test_who_did_it_is_named_by_the_same_rule(self, rows_of, make_staff):
        page = make_staff("view_recoverycodeaudit").get(url(RecoveryCodeAudit))
        assert self.NAME not in page.text
        assert self.MASKED in re.findall(r'field-done_by">([^<]*)<', page.text)

    def test_a_question_and_a_refusal_name_users_by_the_same_rule(self, rows_of, make_staff):
        batch = RecoveryCodeBatch.objects.get(user=rows_of)
        for permissions, name in [((), self.MASKED), (("view_user",), self.NAME)]:
            staff = make_staff("view_recoverycodebatch", "revoke_recoverycodebatch", *permissions)
            assert act(staff, "revoke", batch).context["rows"] == [(batch.pk, name)]
            refused = act(staff, "revoke", batch, post="yes")
            assert told(refused)[0].startswith(f"{name}: This user belongs to the staff")
