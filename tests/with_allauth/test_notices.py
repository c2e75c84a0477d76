"""R-40: owners hear of their factors and codes: by allauth's mail machinery, and by messengers."""

from __future__ import annotations

import importlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.mfa.models import Authenticator
from django.core import mail
from django.db import transaction
from django_q.models import OrmQ
from recovery_backend_allauth import marker

from recovery_backend import audit, signals, tasks
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.emails import Notice
from recovery_backend.models import RecoveryCode, RecoveryCodeReminderScheduler
from recovery_backend.reminders import send_due
from tests.conftest import PASSWORD, WRONG_CODE
from tests.test_emails import LINKS
from tests.with_allauth.conftest import AUTHENTICATE, add_passkey, add_totp, totp_now

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parent.parent.parent
ACTIVATE = "/accounts/2fa/totp/activate/"
DEACTIVATE = "/accounts/2fa/totp/deactivate/"
ADDED = "A second step was added to your account"
REMOVED = "A second step was removed from your account"


@pytest.fixture
def confirmed(user, make_browser, at_once):
    """The owner's browser, in which allauth has just been told the password."""
    browser = make_browser(user)
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    mail.outbox.clear()
    return browser


@pytest.fixture
def told():
    """What messengers were told: `(notice, event)`."""
    heard = []

    def hear(sender, *, notice, audit, **kwargs):
        heard.append((str(notice), str(audit.event)))

    signals.owner_notified.connect(hear)
    yield heard
    signals.owner_notified.disconnect(hear)


def activate_totp(browser):
    secret = browser.get(ACTIVATE).context["form"].secret
    assert browser.post(ACTIVATE, {"code": totp_now(secret)}).status_code == 302


def rows(event):
    found = RecoveryCodeAudit.objects.filter(event=event).order_by("pk")
    return [(row.user_id, row.actor_id, row.data, row.address) for row in found]


def subjects():
    return [message.subject for message in mail.outbox]


def test_a_new_factor_is_told_once(user, confirmed, told):
    activate_totp(confirmed)
    assert rows(Event.MFA_FACTOR_ADDED) == [(user.pk, user.pk, {"type": "totp"}, "127.0.0.1")]
    [message] = mail.outbox
    assert message.subject.endswith(ADDED) and message.to == [user.email]
    assert "An authenticator app was added to your account." in message.body
    assert told == [("factor_added", "recovery.mfa.factor_added")]


def test_a_removed_factor_is_told_once(user, confirmed, told):
    add_totp(user)
    assert confirmed.post(DEACTIVATE).status_code == 302
    assert rows(Event.MFA_FACTOR_REMOVED) == [(user.pk, user.pk, {"type": "totp"}, "127.0.0.1")]
    [message] = mail.outbox
    assert message.subject.endswith(REMOVED) and message.to == [user.email]
    assert "The authenticator app was removed from your account." in message.body
    assert told == [("factor_removed", "recovery.mfa.factor_removed")]


def test_a_removed_passkey_is_told(user, confirmed):
    key = add_passkey(user)
    confirmed.post(f"/accounts/2fa/webauthn/keys/{key.pk}/remove/")
    assert not Authenticator.objects.exists()
    assert rows(Event.MFA_FACTOR_REMOVED) == [
        (user.pk, user.pk, {"type": "webauthn"}, "127.0.0.1")
    ]
    assert "A security key or passkey was removed" in mail.outbox[0].body


def test_no_message_has_links_or_secrets(user, confirmed):
    activate_totp(confirmed)
    secret = Authenticator.objects.get(user=user, type="totp").data["secret"]
    confirmed.post(DEACTIVATE)
    assert len(mail.outbox) == 2
    for message in mail.outbox:
        text = message.body + message.alternatives[0][0] + message.subject
        assert secret not in text
        assert not [link for link in LINKS if link in text]


def test_headless_clients_add_and_remove_a_factor_too(user, confirmed):
    url = "/_allauth/browser/v1/account/authenticators/totp"
    secret = confirmed.get(url).json()["meta"]["secret"]
    code = json.dumps({"code": totp_now(secret)})
    assert confirmed.post(url, code, content_type="application/json").status_code == 200
    assert confirmed.delete(url).status_code == 200
    assert [len(rows(event)) for event in (Event.MFA_FACTOR_ADDED, Event.MFA_FACTOR_REMOVED)] == [
        1,
        1,
    ]
    assert len(mail.outbox) == 2


def test_a_factor_that_a_program_removes_is_told(user, at_once):
    add_totp(user).delete()
    assert rows(Event.MFA_FACTOR_REMOVED) == [(user.pk, None, {"type": "totp"}, None)]
    assert subjects()[0].endswith(REMOVED)


def test_a_factor_that_support_removes_is_told(user, make_user, rf, at_once):
    """As the admin does it, which sends none of allauth's signals."""
    factor, request = add_totp(user), rf.post("/admin/mfa/authenticator/")
    request.user = make_user(is_staff=True)
    with context.request_context(request):
        Authenticator.objects.filter(pk=factor.pk).delete()
    [(owner, actor, _, _)] = rows(Event.MFA_FACTOR_REMOVED)
    assert (owner, actor) == (user.pk, request.user.pk)
    [message] = mail.outbox
    assert message.to == [user.email]
    assert "The people who run the site did this." in message.body
    assert "127.0" not in message.body


def test_an_account_that_goes_takes_its_factors_along(user, at_once):
    add_totp(user)
    add_passkey(user)
    user.delete()
    assert rows(Event.MFA_FACTOR_REMOVED) == []
    assert mail.outbox == []


def test_accounts_that_go_together_take_their_factors_along(user, make_user, at_once):
    add_totp(user)
    add_totp(make_user())
    type(user).objects.all().delete()
    assert rows(Event.MFA_FACTOR_REMOVED) == []
    assert mail.outbox == []


def test_the_marker_is_no_factor(user, make_codes, at_once):
    factor = add_totp(user)
    make_codes(user)
    row = marker.sync(user)
    row.delete()
    assert rows(Event.MFA_FACTOR_REMOVED) == []
    marker.sync(user)
    factor.delete()
    assert not Authenticator.objects.exists()
    assert len(rows(Event.MFA_FACTOR_REMOVED)) == len(mail.outbox) == 1


def test_where_allauth_tells_of_factors_we_only_record(user, confirmed, told, settings):
    """One message about one thing."""
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
    settings.ACCOUNT_EMAIL_NOTIFICATIONS = True
    activate_totp(confirmed)
    assert confirmed.post(DEACTIVATE).status_code == 302
    assert len(rows(Event.MFA_FACTOR_ADDED)) == len(rows(Event.MFA_FACTOR_REMOVED)) == 1
    assert [ADDED in it or REMOVED in it for it in subjects()] == [False, False]
    assert [notice for notice, _ in told] == ["factor_added", "factor_removed"]


@pytest.mark.parametrize("is_told_by_allauth", [True, False])
def test_nobody_is_told_with_notices_off(confirmed, told, settings, is_told_by_allauth):
    settings.DJANGO_AUTH_RECOVERY_CODES_NOTIFY = False
    settings.ACCOUNT_EMAIL_NOTIFICATIONS = is_told_by_allauth
    activate_totp(confirmed)
    assert len(rows(Event.MFA_FACTOR_ADDED)) == 1
    assert told == []
    assert not [subject for subject in subjects() if ADDED in subject]


def test_messages_about_factors_stop_after_five_an_hour(user, at_once):
    for _ in range(7):
        add_passkey(user).delete()
    assert len(rows(Event.MFA_FACTOR_REMOVED)) == 7
    assert len(mail.outbox) == 5


def test_a_factor_is_added_and_removed_though_it_cannot_be_recorded(user, confirmed, monkeypatch):
    def fail(*rows):
        raise RuntimeError("no space")

    monkeypatch.setattr(audit, "record", fail)
    activate_totp(confirmed)
    assert Authenticator.objects.filter(user=user, type="totp").exists()
    assert confirmed.post(DEACTIVATE).status_code == 302
    assert not Authenticator.objects.filter(user=user, type="totp").exists()


def test_the_owner_reads_of_factors_on_the_dashboard(confirmed):
    activate_totp(confirmed)
    confirmed.post(DEACTIVATE)
    page = confirmed.open().content.decode()
    assert "A second factor was added." in page and "A second factor was removed." in page


@pytest.fixture
def prefix(settings):
    settings.ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Linden] "
    return "[Linden] "


def test_codes_that_are_generated_are_told_by_allauths_adapter(user, confirmed, prefix):
    confirmed.generate()
    [message] = mail.outbox
    assert message.subject == f"{prefix}New recovery codes for your account"
    assert message.to == [user.email]


def test_a_code_that_is_used_is_told_by_allauths_adapter(totp_user, before_step, prefix, at_once):
    user, codes = totp_user
    assert before_step(user).post(AUTHENTICATE, {"code": codes[0]}).status_code == 302
    [message] = mail.outbox
    assert message.subject.startswith(f"{prefix}A recovery code was used")
    assert message.to == [user.email]
    assert "Codes left: 2" in message.body
    assert codes[0] not in message.body


def test_the_tenth_failed_try_is_told(user, post_code, at_once):
    for number in range(10):
        assert mail.outbox == []
        post_code(user.email, WRONG_CODE, f"198.51.100.{number}")
    [message] = mail.outbox
    assert message.to == [user.email] and "10" in message.body


def test_few_codes_left_are_told_by_allauths_adapter(user, make_codes, prefix, told):
    make_codes(user)
    RecoveryCode.objects.of_user(user)[0].spend()
    schedule = RecoveryCodeReminderScheduler.objects.create(
        name="reminders", schedule_type="daily", reminds_of_few_left=True
    )
    assert send_due(schedule).sent == 1
    assert [message.subject for message in mail.outbox] == [
        f"{prefix}You have few recovery codes left"
    ]
    assert told == [("few_left", "recovery.code.reminder")]


class Hook(BaseHTTPRequestHandler):
    """A webhook that keeps what it is sent, and answers as it was told to."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append((self.headers["Content-Type"], json.loads(body)))
        time.sleep(self.server.pause)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def hook(settings):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.messages, server.status, server.pause = [], 200, 0.0
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.OWNER_NOTICE_WEBHOOK = f"http://127.0.0.1:{server.server_port}/s3cret"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def recipe():
    """The recipe of the docs, connected for this test."""
    module = importlib.import_module("tests.with_allauth.recipe_webhook")
    signals.owner_notified.connect(module.on_notice, dispatch_uid="owner_notices")
    yield module
    signals.owner_notified.disconnect(dispatch_uid="owner_notices")


@pytest.fixture
def worked():
    """Let the worker do what was queued for the webhook: what each task returned."""

    def work():
        tasks_ = [row.task for row in OrmQ.objects.order_by("pk")]
        OrmQ.objects.all().delete()
        return [task["func"](*task["args"]) for task in tasks_ if callable(task["func"])]

    return work


def test_the_recipe_posts_a_notice(user, make_codes, try_code, recipe, hook, worked):
    [code, *_] = make_codes(user)
    assert try_code(user.email, code) == user
    assert hook.messages == []
    assert worked() == [True]
    [(content_type, message)] = hook.messages
    assert content_type == "application/json"
    assert f"user {user.pk}" in message["text"]
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", message["text"])
    assert code not in str(message) and code[:6] not in str(message)


def test_the_recipe_tells_nothing_that_was_rolled_back(user, recipe, hook, worked):
    with pytest.raises(KeyError), transaction.atomic():
        row = audit.entry(Event.MFA_FACTOR_ADDED, user=user, data={"type": "totp"})
        audit.record(row)
        tasks.notify(Notice.FACTOR_ADDED, row)
        raise KeyError
    assert worked() == []


def test_the_recipe_tells_of_factors_where_allauth_sends_the_mail(
    confirmed, recipe, hook, worked, settings
):
    settings.ACCOUNT_EMAIL_NOTIFICATIONS = True
    activate_totp(confirmed)
    assert worked() == [True]
    assert "second factor added" in hook.messages[0][1]["text"]


@pytest.mark.parametrize("status", [404, 500])
def test_a_webhook_that_refuses_harms_nobody(recipe, hook, status, caplog):
    hook.status = status
    assert recipe.post({"text": "Hello"}) is False
    assert "s3cret" not in caplog.text and "webhook: HTTPError" in caplog.text


def test_a_webhook_that_is_slow_is_given_up(recipe, hook, monkeypatch, caplog):
    monkeypatch.setattr(recipe, "TIMEOUT_SECONDS", 0.2)
    hook.pause = 2
    begun = time.monotonic()
    assert recipe.post({"text": "Hello"}) is False
    assert time.monotonic() - begun < 1.5
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/s3cret", "file:///etc/hostname", "", "nonsense"]
)
def test_a_webhook_that_is_not_there_harms_nobody(recipe, settings, url, caplog):
    settings.OWNER_NOTICE_WEBHOOK = url
    assert recipe.post({"text": "Hello"}) is False
    assert "s3cret" not in caplog.text


def test_a_recipe_that_fails_harms_no_sign_in(
    user, make_codes, try_code, recipe, monkeypatch, at_once
):
    def fail(*args, **kwargs):
        raise RuntimeError("queue is down")

    monkeypatch.setattr(recipe, "async_task", fail)
    [code, *_] = make_codes(user)
    assert try_code(user.email, code) == user
    assert len(mail.outbox) == 1


def test_the_docs_have_the_recipe_as_it_is_tested():
    page = ROOT / "docs/messengers.md"
    if not page.exists():
        pytest.skip("these are about a checkout, and this is none")
    recipe_text = (Path(__file__).parent / "recipe_webhook.py").read_text(encoding="utf-8")
    assert f"```python\n{recipe_text}```" in page.read_text(encoding="utf-8")
