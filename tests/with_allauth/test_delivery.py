"""Where codes and notices go to, and how, with allauth's accounts."""

from __future__ import annotations

import re

import pytest
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from django.contrib import admin
from django.core import mail
from django.test import Client

from recovery_backend import emails, flows
from recovery_backend.audit import Event
from recovery_backend.exceptions import NoAddress
from recovery_backend.models import RecoveryCodeAudit, RecoveryCodeBatch
from tests.conftest import JSON, LOGIN, WRONG_CODE

pytestmark = pytest.mark.django_db

OTHER = "other@example.com"
UNCONFIRMED = "Codes are sent only to a confirmed e-mail address"


@pytest.fixture(autouse=True)
def verifying(settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"


def add_address(user, email=None, *, primary=True, verified=True):
    return EmailAddress.objects.create(
        user=user, email=email or user.email, primary=primary, verified=verified
    )


class TestAddress:
    """R-81"""

    def test_the_verified_primary_address(self, user):
        add_address(user)
        add_address(user, OTHER, primary=False)
        assert emails.delivery_address(user) == user.email

    @pytest.mark.parametrize(
        ("primary", "verified"), [(True, False), (False, True), (False, False)]
    )
    def test_no_other(self, user, primary, verified):
        add_address(user, primary=primary, verified=verified)
        assert emails.delivery_address(user) == ""

    def test_none_without_a_row(self, user):
        assert emails.delivery_address(user) == ""

    def test_not_one_that_is_no_longer_the_accounts_own(self, user):
        """Support has changed the account's address: the old mailbox may be anybody's by now."""
        add_address(user)
        user.email = OTHER
        user.save()
        assert emails.delivery_address(user) == ""

    def test_spellings_of_one_address_are_one(self, make_user):
        user = make_user(email="Owner@Example.com")
        add_address(user, "owner@example.com")
        assert emails.delivery_address(user) == "owner@example.com"

    def test_not_that_of_somebody_else(self, user, make_user):
        add_address(make_user(), user.email)
        assert emails.delivery_address(user) == ""

    def test_the_accounts_own_where_the_site_verifies_none(self, user, settings):
        settings.ACCOUNT_EMAIL_VERIFICATION = "none"
        assert emails.delivery_address(user) == user.email


@pytest.fixture
def ask_for_mail(generated, committed):
    """Have the codes e-mailed: the worker does it next."""

    def ask():
        with committed():
            assert generated.send("recovery_email").status_code == 302

    return ask


class TestCodes:
    def test_they_go_to_the_verified_address(self, user, generated, ask_for_mail, run_queue):
        add_address(user)
        add_address(user, OTHER, primary=False)
        ask_for_mail()
        run_queue()
        [message] = [m for m in mail.outbox if generated.codes[0] in m.body]
        assert message.to == [user.email]

    def test_without_one_nothing_is_sent_and_the_page_says_so(self, user, generated, run_queue):
        add_address(user, verified=False)
        page = generated.open().text
        assert UNCONFIRMED in page and "Send the e-mail" not in page
        answer = generated.post("/auth/recovery-codes/email/", headers=JSON)
        assert answer.status_code == 400
        run_queue()
        assert not any(generated.codes[0] in message.body for message in mail.outbox)

    def test_with_one_the_page_offers_it(self, user, generated):
        add_address(user)
        page = generated.open().text
        assert UNCONFIRMED not in page and "Send the e-mail" in page

    def test_not_to_an_address_that_lost_its_proof_meanwhile(
        self, user, generated, ask_for_mail, run_queue
    ):
        add_address(user)
        ask_for_mail()
        EmailAddress.objects.update(verified=False)
        assert ("send_codes", False) in run_queue()
        assert not any(generated.codes[0] in message.body for message in mail.outbox)
        assert RecoveryCodeBatch.objects.get().email_state == "failed"

    def test_not_after_allauths_change_of_the_primary_address(
        self, user, generated, ask_for_mail, run_queue
    ):
        """R-72: neither to the old one nor to the new one, and no page shows them any more."""
        add_address(user)
        add_address(user, OTHER, primary=False)
        ask_for_mail()
        answer = generated.post("/accounts/email/", {"action_primary": "", "email": OTHER})
        assert answer.status_code == 302
        user.refresh_from_db()
        assert user.email == OTHER and emails.delivery_address(user) == OTHER
        assert ("send_codes", False) in run_queue()
        assert not any(generated.codes[0] in message.body for message in mail.outbox)
        assert generated.open().context["plaintext"] is None

    def test_not_after_a_change_that_a_link_completes(
        self, user, generated, ask_for_mail, run_queue, settings
    ):
        """ACCOUNT_CHANGE_EMAIL: confirming the new address drops the old one."""
        settings.ACCOUNT_CHANGE_EMAIL = True
        add_address(user)
        ask_for_mail()
        generated.post("/accounts/email/", {"action_add": "", "email": OTHER})
        [link] = {
            link
            for message in mail.outbox
            for link in re.findall(r"/accounts/confirm-email/\S+", message.body)
        }
        Client().post(link)
        user.refresh_from_db()
        assert user.email == OTHER
        assert ("send_codes", False) in run_queue()
        assert not any(generated.codes[0] in message.body for message in mail.outbox)
        assert generated.open().context["plaintext"] is None

    def test_an_emergency_code_needs_one_too(
        self, user, make_user, codes, rf, run_queue, committed
    ):
        support = make_user(is_staff=True, is_superuser=True)
        request = rf.post("/")
        request.user = support
        with pytest.raises(NoAddress):
            flows.send_emergency_code(request, user)
        add_address(user)
        with committed():
            flows.send_emergency_code(request, user)
        run_queue()
        assert [m.to for m in mail.outbox if "emergency code" in m.subject] == [[user.email]]

    def test_they_never_go_through_the_sites_adapter(
        self, user, generated, ask_for_mail, run_queue, monkeypatch
    ):
        add_address(user)
        seen = []
        monkeypatch.setattr(
            DefaultAccountAdapter, "send_mail", lambda self, *given: seen.append(repr(given))
        )
        ask_for_mail()
        run_queue()
        run_queue()  # the notice that they were sent
        assert seen and not any(code in text for code in generated.codes for text in seen)
        assert any(generated.codes[0] in message.body for message in mail.outbox)


def tell(user):
    """Send a notice as the worker does: nobody's request is at hand."""
    row = RecoveryCodeAudit.objects.create(event=Event.LOGIN_SUCCESS, user=user)
    assert emails.send(emails.Notice.CODE_USED, row)
    return mail.outbox[-1]


class Adapter(DefaultAccountAdapter):
    def get_from_email(self):
        return "accounts@example.com"


class TestNotices:
    @pytest.mark.parametrize(
        ("name", "hosts", "prefix"),
        [
            ("Linden", ["*"], "[Linden] "),
            ("", ["127.0.0.1", "localhost", ".example.org"], "[example.org] "),
            ("", ["*"], "[localhost] "),
        ],
    )
    def test_a_worker_names_the_site_once(self, user, settings, name, hosts, prefix):
        settings.DJANGO_AUTH_RECOVERY_CODES_SITE_NAME = name
        settings.ALLOWED_HOSTS = hosts
        message = tell(user)
        assert message.subject == f"{prefix}A recovery code was used to sign in"
        assert message.to == [user.email]

    def test_prefix_and_sender_are_allauths(self, user, settings):
        settings.ACCOUNT_ADAPTER = "tests.with_allauth.test_delivery.Adapter"
        settings.ACCOUNT_EMAIL_SUBJECT_PREFIX = "Linden: "
        settings.DJANGO_AUTH_RECOVERY_CODES_SITE_NAME = "Another"
        message = tell(user)
        assert message.subject.startswith("Linden: A recovery code")
        assert message.from_email == "accounts@example.com"
        [(html, kind)] = message.alternatives
        assert kind == "text/html" and "Another" in message.body and "<" in html

    @pytest.mark.parametrize("has_id", [True, False])
    def test_with_the_sites_framework(self, user, settings, has_id):
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sites"]
        from django.contrib.sites import models as sites  # needs its app to be installed

        settings.ALLOWED_HOSTS = ["site.example"]
        site = sites.Site(1, "site.example", "Example of sites")
        sites.SITE_CACHE.update({1: site, "site.example": site})
        if has_id:
            settings.SITE_ID = 1
        try:
            assert tell(user).subject.startswith("[Example of sites] A recovery code")
        finally:
            sites.SITE_CACHE.clear()
            if admin.site.is_registered(sites.Site):  # by autodiscover, for all later tests
                admin.site.unregister(sites.Site)

    def test_no_host_header_is_in_a_subject(self, user, settings, at_once, committed):
        """R-95: the owner is told of failures that somebody else has caused."""
        settings.ALLOWED_HOSTS = ["*"]
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 100
        data = {"email": user.email, "recovery_code": WRONG_CODE}
        with committed():
            for _ in range(10):
                Client().post(LOGIN, data, headers={"Host": "evil.example"})
        [message] = mail.outbox
        assert "evil.example" not in f"{message.subject} {message.body} {message.alternatives}"

    def test_the_sites_request_is_back_afterwards(self, rf, user):
        from allauth.core import context

        request = rf.get("/")
        with context.request_context(request):
            tell(user)
            assert context.request is request


def test_a_notice_may_go_to_an_unverified_address(user):
    """It carries no code and no link, and the owner of an account is better told than not."""
    add_address(user, verified=False)
    assert tell(user).to == [user.email]
