"""What a user may read: how it stands, the history, what happened."""

from __future__ import annotations

import pytest
from django.utils import timezone

from recovery_backend.models import RecoveryCodeAudit, RecoveryCodeSetup
from tests.conftest import DASHBOARD, WRONG_CODE
from tests.with_api.conftest import ApiClient, told, url

pytestmark = pytest.mark.django_db
READ = ("status", "batches", "activity", "email")


class TestStatus:
    def test_without_codes(self, api):
        body = api.ask("status").json()
        assert (body["left"], body["total"], body["warning"]) == (0, 0, "no_codes")
        assert body["batch"] is None and body["wait_seconds"] == {"generate": 0, "email": 0}

    def test_with_codes(self, api, user, make_codes, post_code):
        codes = make_codes(user, 10)
        post_code(user.email, codes[0])
        api.send("invalidate", {"recovery_code": codes[1]})
        api.send("delete", {"recovery_code": codes[2]})
        body = api.ask("status").json()
        assert (body["left"], body["total"], body["warning"]) == (7, 10, None)
        batch = body["batch"]
        assert (batch["used"], batch["invalidated"], batch["deleted"]) == (1, 1, 1)
        assert not batch["has_viewed"] and batch["email_state"] == "none"

    @pytest.mark.parametrize(("number", "warning"), [(3, "low"), (4, None)])
    def test_few_are_left(self, api, user, make_codes, number, warning):
        make_codes(user, number)
        assert api.ask("status").json()["warning"] == warning

    def test_all_are_used(self, api, user, make_codes, post_code):
        post_code(user.email, make_codes(user, 1)[0])
        assert api.ask("status").json()["warning"] == "out"

    def test_they_have_expired(self, api, user, make_codes, clock):
        make_codes(user, days_to_expire=1)
        clock.shift(86_401)
        body = ApiClient().sign_in(user).ask("status").json()
        assert (body["left"], body["total"], body["warning"]) == (0, 3, "expired")

    def test_support_asks_for_new_ones(self, api, user, make_codes):
        make_codes(user, 10)
        RecoveryCodeSetup.objects.create(user=user, new_batch_required_at=timezone.now())
        assert api.ask("status").json()["warning"] == "new_codes_required"

    def test_of_several_the_one_that_the_page_shows(self, user, make_codes, clock):
        make_codes(user, days_to_expire=1)
        RecoveryCodeSetup.objects.create(user=user, new_batch_required_at=timezone.now())
        clock.shift(86_401)
        api = ApiClient().sign_in(user)
        assert api.ask("status").json()["warning"] == "new_codes_required"
        page = api.get(DASHBOARD).content
        assert b"asked you to" in page and b"Your codes have expired" not in page

    def test_refused_sign_ins_are_told(self, api, user, codes, post_code):
        post_code(user.email, WRONG_CODE, client=ApiClient(), address="203.0.113.1")
        post_code(user.email, WRONG_CODE, address="203.0.113.1")
        assert api.ask("status").json()["refused_sign_ins"] >= 1


class TestPages:
    def test_batches_come_newest_first_a_page_at_a_time(self, api, user, make_codes, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_PER_PAGE = 2
        for _number in range(3):
            make_codes(user)
        first, second = api.ask("batches").json(), api.ask("batches", {"page": 2}).json()
        assert (first["count"], first["page"], first["pages"]) == (3, 1, 2)
        assert [it["status"] for it in first["results"]] == ["active", "superseded"]
        assert len(second["results"]) == 1 and second["page"] == 2

    def test_the_history_is_as_long_as_on_the_dashboard(self, api, user, make_codes, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_MAX_VISIBLE = 1
        make_codes(user)
        make_codes(user)
        assert api.ask("batches").json()["count"] == 1

    def test_activity_goes_back_as_far_as_the_audit(self, api, user, make_codes, settings):
        for _number in range(12):
            make_codes(user)
        body = api.ask("activity", {"page": 3}).json()
        assert (body["count"], body["pages"], len(body["results"])) == (12, 3, 2)
        assert body["results"][-1]["event"] == "recovery.batch.generated"
        assert body["results"][-1]["detail"] == "Codes were generated."

    @pytest.mark.parametrize("name", ["batches", "activity"])
    @pytest.mark.parametrize("page", ["0", "2", "-1", "x", "1.5", "", "9" * 5000, "\x00"])
    def test_pages_that_do_not_exist(self, api, codes, name, page):
        assert told(api.ask(name, {"page": page})) == (404, "not_found")

    def test_no_addresses_of_others(self, api, user, codes, post_code):
        """A stranger's network is not shown to the owner, nor is the auditor's part."""
        for _number in range(6):
            post_code(user.email, WRONG_CODE, address="203.0.113.77")
        post_code(user.email, codes[0], address="198.51.100.9")
        addresses = RecoveryCodeAudit.objects.values_list("address", flat=True)
        assert {"203.0.113.77", "198.51.100.9"} <= set(addresses)
        answer = api.ask("activity")
        assert "203.0.113" not in answer.content.decode()
        assert answer.json()["results"][0]["network"] == "198.51.100.0/24"
        assert answer.json()["results"][0].keys() == {
            "at", "event", "detail", "network", "is_refusal"
        }  # fmt: skip


@pytest.mark.parametrize("name", READ)
class TestEach:
    def test_others_see_nothing_of_it(self, api, make_user, make_api, codes, name):
        """R-88, R-97"""
        other = make_api(make_user()).ask(name).json()
        assert other.get("count", 0) == 0 and other.get("batch") is None
        assert other.get("email_state", "none") == "none"

    def test_nobody(self, name):
        answer = ApiClient().ask(name)
        assert told(answer) == (401, "not_authenticated") and answer["WWW-Authenticate"]

    def test_reading_asks_for_no_csrf_token(self, api, name):
        api.csrf = {}
        assert api.ask(name).status_code == 200

    def test_a_user_who_was_turned_off(self, api, user, name):
        """As if signed out."""
        type(user).objects.update(is_active=False)
        assert told(api.ask(name)) == (401, "not_authenticated")

    def test_head(self, api, name):
        assert api.head(url(name)).status_code == 200

    def test_no_digest_is_told(self, api, codes, name):
        """R-20"""
        text = api.ask(name).content.decode()
        assert not {"digest", "bind", "sealed", "key_id"} & set(text.replace('"', " ").split())
