"""The help desk in the admin: found, looked at, asked, done; each with its own permission."""

# Fixtures of another module are named where they are used.
# ruff: noqa: F811
from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from recovery_backend import cooldown
from recovery_backend.flows import support as support_flow
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeSetup
from tests.conftest import LOGIN
from tests.test_canary import admin_mails, failing, made, witness  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)

DESK = "/admin/recovery_backend/recoverycodedesk/"
PERMISSIONS = {
    "clear": "clear_recoverycodecooldown",
    "emergency": "send_emergency_code",
    "require": "require_recoverycodebatch",
    "revoke": "revoke_recoverycodebatch",
}
TITLES = {
    "clear": "Clear the wait",
    "emergency": "Send an emergency code",
    "require": "Require new codes",
    "revoke": "Revoke all codes",
}
ALL = ("view_recoverycodedesk", *PERMISSIONS.values())
CODE = re.compile(r"\b[A-Za-z0-9]{6}(?:-[A-Za-z0-9]{6}){5}\b")


@pytest.fixture(autouse=True)
def mailed_at_once(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False


@pytest.fixture
def make_staff(make_user):
    def make(*codenames, **fields):
        staff = make_user(is_staff=True, **fields)
        permissions = Permission.objects.filter(codename__in=codenames)
        assert len(permissions) == len(codenames)
        staff.user_permissions.set(permissions)
        return staff

    return make


@pytest.fixture
def open_desk():
    """A browser of a member of the staff."""

    def open_(staff, **options):
        desk = Client(**options)
        desk.force_login(staff)
        return desk

    return open_


@pytest.fixture
def support(make_staff):
    return make_staff(*ALL, username="support")


@pytest.fixture
def desk(support, open_desk):
    return open_desk(support)


def page_of(user):
    return f"{DESK}?user={user.pk}"


def remedy(name, user):
    return f"{DESK}{name}/?user={user.pk}"


class TestFinding:
    def test_the_page_stands_in_the_index_for_those_who_may(
        self, make_staff, open_desk, support, desk
    ):
        assert DESK in desk.get("/admin/").text
        assert DESK not in open_desk(make_staff()).get("/admin/").text

    @pytest.mark.parametrize("term", ["owner", "owner@example.com", " OWNER@Example.com "])
    def test_one_user_is_opened_at_once(self, desk, user, term):
        assert desk.get(DESK, {"q": term}).url == page_of(user)

    @pytest.mark.parametrize("term", ["own", "@example.com", "owner@example", "%", "*", "0"])
    def test_a_part_of_a_name_finds_nobody(self, desk, user, term):
        response = desk.get(DESK, {"q": term})
        assert response.status_code == 200
        assert "Nobody has exactly this user name or e-mail address." in response.text

    @pytest.mark.parametrize("term", ["", " ", "\0", "x" * 300])
    def test_what_cannot_be_a_name_is_said_to_be_none(self, desk, user, term):
        response = desk.get(DESK, {"q": term})
        assert response.status_code == 200
        assert "errorlist" in response.text

    def test_several_users_are_listed(self, desk, user, make_user):
        make_user(username="owner@example.com", email="eve@example.com")
        make_user(email="Owner@example.com", is_active=False)
        page = desk.get(DESK, {"q": "owner@example.com"}).text
        assert "3 users have this name or address" in page
        assert page.count("not active") == 1

    def test_an_inactive_user_is_found(self, desk, make_user):
        user = make_user(email="gone@example.com", is_active=False)
        assert desk.get(DESK, {"q": "gone@example.com"}).url == page_of(user)

    @pytest.mark.parametrize("pk", ["0", "999", "x", "\0", "1' OR 1=1", "9" * 40, "1e3"])
    def test_a_user_who_does_not_exist_is_said_not_to(self, desk, user, pk):
        for url in (DESK, f"{DESK}revoke/"):
            response = desk.get(url, {"user": pk})
            assert response.status_code == 404
            assert "There is no such user." in response.text

    def test_a_remedy_that_does_not_exist_is_said_not_to(self, desk, user):
        assert desk.get(remedy("choose-codes", user)).status_code == 404
        assert desk.post(remedy("choose-codes", user)).status_code == 404

    def test_a_list_to_choose_from_is_for_those_who_may_look_at_users(
        self, desk, make_staff, open_desk
    ):
        assert "recovery-picker" not in desk.get(DESK).text
        other = open_desk(make_staff("view_recoverycodedesk", "view_user"))
        assert "recovery-picker" in other.get(DESK).text

    def test_without_users_in_the_admin_the_text_field_is_enough(self, user, make_user, open_desk):
        root = make_user(is_staff=True, is_superuser=True)
        users = get_user_model()
        user_admin = admin.site.get_model_admin(users)
        admin.site.unregister(users)
        try:
            desk = open_desk(root)
            assert "recovery-picker" not in desk.get(DESK).text
            assert user.email in desk.get(page_of(user)).text
        finally:
            admin.site.register(users, type(user_admin))


class TestLooking:
    def test_it_is_said_how_it_stands_with_a_user(
        self, desk, user, make_codes, try_code, settings, clock
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = 7
        codes = make_codes(user, days_to_expire=3)
        try_code(user.email, codes[0])
        for _ in range(5):
            cooldown.charge(user.email, "198.51.100.7/32")
        cooldown.charge(user.email, "198.51.100.8/32")
        RecoveryCodeSetup.objects.create(
            user=user, verified_at=timezone.now(), new_batch_required_at=timezone.now()
        )
        response = desk.get(page_of(user))
        facts = dict(re.findall(r"<dt>([^<]+)</dt><dd[^>]*>(?:<bdi>)?([^<]+)", response.text))
        assert facts["Active"] == "Yes"
        assert facts["Left"] == "2 of 3"
        assert facts["E-mail"] == "Not e-mailed"
        assert facts["Failures since the last success"] == "6"
        assert facts["Networks they came from"] == "2"
        assert facts["Networks that have to wait"] == "1 (1 minute at most)"
        assert facts["Closed after too many failures"] == "No"
        assert facts["Set-up test passed"] == "Yes"
        assert "Asked for new codes since" in facts
        assert "Valid until" in facts
        cooldown.charge(user.email, "198.51.100.9/32")
        facts = dict(re.findall(r"<dt>([^<]+)</dt><dd[^>]*>([^<]+)", desk.get(page_of(user)).text))
        assert facts["Closed after too many failures"] == "Yes"
        assert "198.51.100" not in response.text

    def test_a_user_without_anything_has_a_page(self, desk, make_user):
        user = make_user()
        get_user_model().objects.update(email="")
        page = desk.get(page_of(user)).text
        assert "The user has no codes now." in page
        assert "<dd>none</dd>" in page

    def test_names_and_addresses_are_whole_for_those_who_may_look_at_users(
        self, desk, make_staff, open_desk, make_user
    ):
        user = make_user(username="ada@example.com", email="ada@example.com")
        urls = [page_of(user), *(remedy(name, user) for name in PERMISSIONS)]
        for url in urls:
            page = desk.get(url).text
            assert "ada@example.com" not in page
            assert "a•••@e•••.com" in page
        for permission in ("view_user", "change_user"):
            other = open_desk(make_staff(*ALL, permission))
            assert "ada@example.com" in other.get(page_of(user)).text

    def test_a_name_is_text(self, desk, make_user):
        """R-99"""
        user = make_user(username="<script>alert(1)</script>")
        for url in (page_of(user), remedy("revoke", user)):
            assert "<script>alert" not in desk.get(url).text

    def test_links_lead_to_what_the_administrator_may_look_at(
        self, desk, user, codes, make_user, open_desk
    ):
        assert "See also" not in desk.get(page_of(user)).text
        root = open_desk(make_user(is_staff=True, is_superuser=True))
        page = root.get(page_of(user)).text
        links = re.findall(r'href="(/admin/recovery_backend/[^"]+user=\d+)"', page)
        assert any("recoverycodebatch" in link for link in links)
        assert any("recoverycodeaudit" in link for link in links)
        assert {root.get(link).status_code for link in links} == {200}

    def test_an_e_mail_that_failed_is_named(self, desk, user, codes):
        RecoveryCodeBatch.objects.update(is_emergency=True, email_state="failed")
        page = desk.get(page_of(user)).text
        assert "The e-mail with the emergency code did not leave." in page


class TestPermissions:
    """R-108"""

    @pytest.mark.parametrize("held", [*PERMISSIONS, None])
    def test_each_remedy_is_for_those_who_have_its_permission(
        self, make_staff, open_desk, user, codes, held
    ):
        own = [PERMISSIONS[held]] if held else []
        desk = open_desk(make_staff("view_recoverycodedesk", *own))
        page = desk.get(page_of(user)).text
        for name, title in TITLES.items():
            assert (title in page) == (name == held)
            expected = 200 if name == held else 403
            assert desk.get(remedy(name, user)).status_code == expected
            if name != held:
                assert desk.post(remedy(name, user)).status_code == 403
        assert RecoveryCode.objects.usable().count() == 3
        assert mail.outbox == []

    def test_permissions_without_the_page_do_nothing(self, make_staff, open_desk, user, codes):
        desk = open_desk(make_staff(*PERMISSIONS.values()))
        assert desk.get(page_of(user)).status_code == 403
        for name in PERMISSIONS:
            assert desk.get(remedy(name, user)).status_code == 403
            assert desk.post(remedy(name, user)).status_code == 403
        assert RecoveryCode.objects.usable().count() == 3

    def test_those_who_are_not_on_the_staff_are_sent_to_sign_in(self, browser, user, client):
        for visitor in (browser, client):
            for url in (DESK, page_of(user), remedy("revoke", user)):
                assert visitor.get(url).url.startswith("/admin/login/")
                assert visitor.post(url).url.startswith("/admin/login/")

    def test_the_staff_is_left_to_superusers(self, desk, make_user, make_codes):
        for rank in ("is_staff", "is_superuser"):
            above = make_user(**{rank: True})
            make_codes(above)
            page = desk.get(page_of(above)).text
            assert page.count("Only superusers may do this here.") == 3
            for name in ("revoke", "require", "emergency"):
                assert remedy(name, above) not in page
                assert (
                    "<form method"
                    not in desk.get(remedy(name, above)).text.partition('id="content-main"')[2]
                )
                desk.post(remedy(name, above), follow=True)
            assert RecoveryCode.objects.usable().of_user(above).count() == 3
        assert mail.outbox == []
        assert not LogEntry.objects.exists()

    def test_a_wait_of_the_staff_may_be_cleared(self, desk, make_user):
        above = make_user(is_staff=True)
        cooldown.charge(above.email, "198.51.100.7/32")
        desk.post(remedy("clear", above))
        assert cooldown.standing_of(above).failures == 0

    def test_nothing_happens_without_a_token(self, support, open_desk, user, codes):
        """R-91"""
        desk = open_desk(support, enforce_csrf_checks=True)
        for name in PERMISSIONS:
            assert desk.post(remedy(name, user)).status_code == 403
        assert RecoveryCode.objects.usable().count() == 3
        assert mail.outbox == []

    def test_looking_changes_nothing(self, desk, user, codes, events):
        before = events()
        for name in PERMISSIONS:
            assert desk.get(remedy(name, user)).status_code == 200
        assert events() == before
        assert mail.outbox == []

    def test_the_desk_adds_changes_and_deletes_nothing(self, desk, user, codes):
        pk = RecoveryCodeBatch.objects.get().pk
        for name in ("add/", f"{pk}/change/", f"{pk}/delete/", f"{pk}/history/"):
            assert desk.get(f"{DESK}{name}").status_code == 404

    def test_a_sign_in_that_is_too_old_changes_nothing(self, desk, user, codes, settings):
        """R-43"""
        settings.DJANGO_AUTH_RECOVERY_CODES_REAUTH_MAX_AGE = 300
        session = desk.session
        session["recovery_backend_signed_in_at"] = timezone.now().timestamp() - 301
        session.save()
        page = desk.post(remedy("revoke", user), follow=True).text
        assert "please sign out and in again" in page
        assert RecoveryCode.objects.usable().count() == 3


class TestHelping:
    def test_a_wait_is_cleared(self, desk, user):
        for _ in range(5):
            cooldown.charge(user.email, "198.51.100.7/32")
        assert "from every network" in desk.get(remedy("clear", user)).text
        response = desk.post(remedy("clear", user), follow=True)
        assert response.redirect_chain == [(page_of(user), 302)]
        assert "The user may try again at once." in response.text
        assert cooldown.standing_of(user).wait_seconds == 0

    def test_codes_are_revoked(self, desk, user, codes):
        """R-46"""
        assert (
            "3 codes that are left stop working at once" in desk.get(remedy("revoke", user)).text
        )
        page = desk.post(remedy("revoke", user), follow=True).text
        assert "All codes of the user were revoked." in page
        assert RecoveryCode.objects.usable().count() == 0
        assert remedy("revoke", user) not in page, "there is nothing left to revoke"
        assert "The user has no codes now." in desk.post(remedy("revoke", user), follow=True).text

    def test_new_codes_are_required(self, desk, user, codes):
        assert "work until then" in desk.get(remedy("require", user)).text
        page = desk.post(remedy("require", user), follow=True).text
        assert "Asked for new codes since" in page
        assert RecoveryCode.objects.usable().count() == 3

    def test_an_emergency_code_goes_to_its_owner(self, desk, user, codes, client):
        page = desk.get(remedy("emergency", user)).text
        assert "o•••@e•••.com. You do not see it." in page
        assert "for 1 hour" in page
        assert "All other codes of the user stop working" in page
        page = desk.post(remedy("emergency", user), follow=True).text
        assert "1 of 1 (emergency code)" in page
        assert ">Sent<" in page
        [code] = CODE.findall(mail.outbox[-1].body)
        response = client.post(LOGIN, {"email": user.email, "recovery_code": code})
        assert response.status_code == 302

    def test_why_no_emergency_code_can_be_sent_is_said(self, desk, user, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_CODES = False
        assert "This site does not send codes by e-mail." in desk.get(page_of(user)).text
        get_user_model().objects.filter(pk=user.pk).update(is_active=False)
        page = desk.post(remedy("emergency", user), follow=True).text
        assert page.count("The account is not active") == 2
        assert mail.outbox == []

    def test_the_sixth_in_an_hour_is_refused(self, desk, user, clock):
        """R-62"""
        for _ in range(5):
            desk.post(remedy("emergency", user))
        page = desk.post(remedy("emergency", user), follow=True).text
        assert "That was done too often in an hour. Wait 60 minutes." in page
        assert len(mail.outbox) == 5

    def test_one_administrator_helps_a_number_of_users_in_an_hour(
        self, desk, user, make_user, codes, monkeypatch, clock
    ):
        """R-62"""
        monkeypatch.setattr(support_flow, "EMERGENCIES_BY_ONE", 2)
        monkeypatch.setattr(support_flow, "CHANGES_BY_ONE", 2)
        for other in (make_user(), make_user()):
            desk.post(remedy("emergency", other))
            desk.post(remedy("require", other))
        for name in ("emergency", "require", "revoke"):
            page = desk.post(remedy(name, user), follow=True).text
            assert "That was done too often in an hour. Wait 60 minutes." in page
        assert RecoveryCode.objects.usable().of_user(user).count() == 3

    def test_the_admin_remembers_who_did_what(self, desk, support, user, codes):
        for name in PERMISSIONS:
            desk.post(remedy(name, user))
        entries = LogEntry.objects.order_by("pk")
        assert [entry.change_message for entry in entries] == list(TITLES.values())
        assert {entry.user for entry in entries} == {support}
        assert {entry.object_id for entry in entries} == {str(user.pk)}
        assert {entry.object_repr for entry in entries} == {"o•••"}

    def test_it_says_whether_the_user_is_told(self, desk, user, settings):
        assert "The user is told by e-mail." in desk.get(remedy("require", user)).text
        settings.DJANGO_AUTH_RECOVERY_CODES_NOTIFY = False
        assert "The user is told by e-mail." not in desk.get(remedy("require", user)).text


@pytest.mark.parametrize("asynchronous", [True, False])
def test_support_sees_no_code_and_leaves_none_anywhere(
    desk,
    user,
    codes,
    settings,
    witness,
    made,
    asynchronous,
):
    """R-10, R-20, R-106: no page, message, table, queue, log, signal; only the owner's e-mail."""
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = asynchronous
    settings.DJANGO_AUTH_RECOVERY_CODE_STORE_EMAIL_LOG = True
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_SENDER_LOGGING = True
    for name in PERMISSIONS:
        for response in (
            desk.get(remedy(name, user)),
            desk.post(remedy(name, user), follow=True),
            desk.get(page_of(user)),
            desk.get(reverse("admin:index")),
            desk.get(reverse("admin:auth_user_history", args=[user.pk])),
        ):
            witness.note("page", response.content)
            witness.note("headers", [dict(response.headers), response.cookies.output()])
    [code] = made
    mail.outbox[:] = [message for message in mail.outbox if code not in message.body]
    for secret in (*codes, code):
        assert witness.places_of(secret) == []


@pytest.mark.parametrize(
    "holder",
    [
        "recovery_backend.models.RecoveryCode.made_from",
        "recovery_backend.models.batches.Issued",
        "recovery_backend.stash.seal",
        "recovery_backend.models.RecoveryCodeBatch.queue_email",
        "recovery_backend.tasks.email_emergency_code",
        "recovery_backend.audit.record",
    ],
)
def test_a_fault_while_an_emergency_code_is_made_leaks_nothing_and_changes_nothing(
    desk,
    user,
    codes,
    witness,
    made,
    admin_mails,
    monkeypatch,
    holder,
):
    """R-84"""
    monkeypatch.setattr(holder, failing(holder, RuntimeError("a fault")))
    desk.raise_request_exception = False
    response = desk.post(remedy("emergency", user))
    witness.note("page", response.content)
    assert response.status_code == 500
    assert mail.outbox, "the report that must not leak was not sent"
    assert made
    for code in made:
        assert witness.places_of(code) == []
    assert RecoveryCode.objects.usable().of_user(user).count() == 3


@pytest.mark.parametrize(
    "holder",
    ["recovery_backend.emails.send_emergency_code", "recovery_backend.emails._about_codes"],
)
def test_a_fault_while_an_emergency_code_is_mailed_leaks_nothing(
    desk,
    user,
    witness,
    made,
    monkeypatch,
    holder,
):
    """R-84"""
    monkeypatch.setattr(holder, failing(holder, RuntimeError("a fault")))
    page = desk.post(remedy("emergency", user), follow=True)
    witness.note("page", page.content)
    assert "The e-mail with the emergency code did not leave." in page.text
    [code] = made
    assert witness.places_of(code) == []


def test_expired_codes_are_said_to_be_expired(desk, user, codes):
    past = timezone.now() - timedelta(days=1)
    RecoveryCodeBatch.objects.update(expires_at=past)
    RecoveryCode.objects.update(expires_at=past)
    assert "<dt>Expired</dt>" in desk.get(page_of(user)).text
