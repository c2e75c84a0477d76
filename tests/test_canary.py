"""No plaintext code is left anywhere but in the hands of the person who got it (R-10, R-83, R-84)."""

from __future__ import annotations

import inspect
import logging
import pkgutil

import django
import pytest
from django.apps import apps
from django.contrib.auth.signals import user_login_failed
from django.core import mail
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.dispatch import Signal
from django.test import Client
from django.utils.log import AdminEmailHandler
from django.views.debug import ExceptionReporter
from django.views.decorators.debug import sensitive_variables
from django_q.signing import SignedPackage

from recovery_backend import codes as code_room
from recovery_backend import signals
from recovery_backend.codes import canonicalise
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.conftest import DASHBOARD, LOGIN
from tests.unwrapping import unwrapped

pytestmark = pytest.mark.django_db(transaction=True)


def as_bytes(value):
    return value if isinstance(value, bytes) else repr(value).encode()


def every_cell():
    """Each value of each row of each table that the project has."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            for row in cursor.fetchall():
                for value in row:
                    yield table, as_bytes(bytes(value) if isinstance(value, memoryview) else value)


class Witness:
    """Everything that leaves a journey: tables, cache, logs, mails, signals, pages."""

    def __init__(self):
        self.seen = []

    def note(self, where, value):
        self.seen.append((where, as_bytes(value)))

    def on_signal(self, sender, **payload):
        self.note("signal", [payload, vars(payload.get("audit", object)) if payload else ""])

    def needles_of(self, code):
        """The code, its canonical form, and two groups of it in a row."""
        return {code.encode(), canonicalise(code).encode(), code[:13].encode()}

    def places_of(self, code):
        """Where one of its needles can be read."""
        needles = self.needles_of(code)
        places = [*self.seen, *every_cell()]
        places += [("cache", as_bytes(value)) for value in cache._cache.values()]
        places += [("cache key", as_bytes(key)) for key in cache._cache]
        for message in mail.outbox:
            places.append(("mail", message.message().as_bytes()))
            places.append(("mail body", message.body.encode()))
            places += [("mail part", part[0].encode()) for part in message.alternatives]
        for task in apps.get_model("django_q", "OrmQ").objects.all():
            places.append(("queue", repr(SignedPackage.loads(task.payload)).encode()))
        return [
            where
            for where, blob in places
            if any(needle in layer for layer in unwrapped(blob) for needle in needles)
        ]


@pytest.fixture
def witness(monkeypatch):
    witness = Witness()
    formatter = logging.Formatter("%(message)s %(args)s %(exc_text)s")

    class Listener(logging.Handler):
        def emit(self, record):
            witness.note("log", [formatter.format(record), record.__dict__.copy()])

    listener = Listener(logging.DEBUG)
    root = logging.getLogger()
    loggers = [
        root,
        *(logging.getLogger(name) for name in ("django", "recovery_backend", "django-q")),
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(listener)
        logger.setLevel(logging.DEBUG)
    listened = [user_login_failed, *(s for s in vars(signals).values() if isinstance(s, Signal))]
    for signal in listened:
        signal.connect(witness.on_signal)
    yield witness
    for signal in listened:
        signal.disconnect(witness.on_signal)
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(listener)
        logger.setLevel(level)


def test_the_scan_finds_a_planted_code(user, codes, witness, client):
    """A scan that finds nothing proves something only if it can find something."""
    session = client.session
    session["planted"] = codes[0]
    session.save()
    assert "django_session" in witness.places_of(codes[0])
    cache.set("planted", codes[1])
    assert "cache" in witness.places_of(codes[1])


@pytest.mark.parametrize("asynchronous", [True, False])
def test_signing_in_leaves_no_code_anywhere(user, codes, witness, client, settings, asynchronous):
    """R-10, R-28, R-83, R-119: right, used, wrong-owner and throttled codes."""
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = asynchronous
    right, other, third = codes
    for email, code in [
        ("nobody@example.com", other),
        (user.email, "  1. " + third.replace("-", "\u2013")),
        (user.email, right),
        (user.email, right),
        *[("nobody@example.com", other)] * 6,
    ]:
        response = client.post(LOGIN, {"email": email, "recovery_code": code})
        witness.note("page", response.content)
        witness.note("headers", dict(response.headers))
    witness.note("dashboard", client.get(DASHBOARD).content)
    for code in codes:
        assert witness.places_of(code) == []


def test_generating_codes_leaves_no_code_anywhere(user, witness):
    plain_codes, _ = RecoveryCodeBatch.create_recovery_batch(user)
    for code in plain_codes:
        assert witness.places_of(code) == []


def failing(path, error):
    """A stand-in that fails at once, with its variables hidden where the genuine one hides its own."""

    def fail(*args, **kwargs):
        raise error

    genuine = inspect.unwrap(
        pkgutil.resolve_name(path), stop=lambda f: "sensitive" in f.__code__.co_name
    )
    is_hidden = "sensitive" in getattr(genuine, "__code__", fail.__code__).co_name
    return sensitive_variables()(fail) if is_hidden else fail


HOLDERS = [
    "recovery_backend.codes.canonicalise",
    "recovery_backend.codes._seal",
    "recovery_backend.codes._digest",
    "recovery_backend.codes._bind",
    "recovery_backend.codes.keyring",
    "recovery_backend.codes.PresentedCode.__init__",
    "recovery_backend.codes.PresentedCode.digests",
    "recovery_backend.codes.PresentedCode.is_bound_to",
    "recovery_backend.forms.RecoveryCodeInput.value_from_datadict",
    "recovery_backend.forms.RecoveryLoginForm.clean",
    "recovery_backend.flows.check_credentials",
    "recovery_backend.flows.sign_in",
    "recovery_backend.flows.wait_seconds",
    "recovery_backend.backends.open_attempt",
    "recovery_backend.backends.close_attempt",
    "recovery_backend.models.RecoveryCode.spend",
    "recovery_backend.models.RecoveryCode.refusal",
    "recovery_backend.views.LoginView.form_valid",
    "recovery_backend.views.LoginView.wait_response",
    "recovery_backend.cooldown.charge",
    "recovery_backend.audit.record",
]


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("error", [RuntimeError, ImproperlyConfigured])
def test_a_fault_in_a_function_that_holds_a_code_leaks_nothing(
    user, codes, witness, settings, monkeypatch, holder, error
):
    """R-84: the 500 page, the log and the mail to ADMINS, with all local variables in it."""
    admin = "admin@example.com"
    settings.ADMINS = [admin] if django.VERSION >= (6, 0) else [("Admin", admin)]
    logging_to_admins = logging.getLogger("django.request")
    handler = AdminEmailHandler(include_html=True)
    logging_to_admins.addHandler(handler)

    monkeypatch.setattr(holder, failing(holder, error("a fault")))
    client = Client(raise_request_exception=False)
    try:
        response = client.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
    finally:
        logging_to_admins.removeHandler(handler)
    witness.note("page", response.content)
    assert response.status_code in {200, 302, 500}
    if response.status_code == 500:
        assert mail.outbox, "the report that must not leak was not sent"
    assert witness.places_of(codes[0]) == []


MAKERS = [
    "recovery_backend.codes.display",
    "recovery_backend.codes.stored_form",
    "recovery_backend.models.RecoveryCode.made_from",
    "recovery_backend.audit.record",
    "recovery_backend.cooldown.open_account",
]


@pytest.mark.parametrize("maker", MAKERS)
def test_a_fault_while_generating_leaks_nothing_and_stores_nothing(
    user, witness, settings, monkeypatch, maker
):
    """R-05, R-84: all or none, and a report of the fault that shows no code."""
    made = []
    genuine = code_room.generate

    def remember():
        made.append(genuine())
        return made[-1]

    monkeypatch.setattr(code_room, "generate", remember)
    monkeypatch.setattr(maker, failing(maker, RuntimeError("a fault")))

    try:
        RecoveryCodeBatch.create_recovery_batch(user)
    except RuntimeError as error:
        below_this_test = error.__traceback__.tb_next  # whose own `made` holds the codes
        reporter = ExceptionReporter(None, type(error), error, below_this_test)
        witness.note("report", reporter.get_traceback_html())
        witness.note("report", reporter.get_traceback_text())
    else:
        pytest.fail("the fault did not happen")
    assert RecoveryCodeBatch.objects.count() == 0
    assert RecoveryCode.objects.count() == 0
    for code in made:
        assert witness.places_of(code) == []


def delivered_by_mail(codes):
    """The e-mails that hold the codes because their owner asked for it; they leave the outbox."""
    letters = [
        message
        for message in mail.outbox
        if message.to == ["owner@example.com"] and set(codes) & set(message.body.split())
    ]
    for message in letters:
        mail.outbox.remove(message)
    return letters


@pytest.mark.parametrize("asynchronous", [True, False])
def test_the_life_of_a_batch_leaves_no_code_anywhere(
    user, browser, witness, settings, asynchronous
):
    """R-10, R-70, R-83, R-86: from generating to deleting, refusals included."""
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = asynchronous
    settings.DJANGO_AUTH_RECOVERY_CODE_STORE_EMAIL_LOG = True
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_SENDER_LOGGING = True

    def look(response):
        witness.note("headers", [dict(response.headers), response.cookies.output()])
        return response

    look(browser.send("recovery_generate"))
    shown = look(browser.open())
    codes = shown.context["plaintext"].codes
    assert all(code[:6] in shown.text for code in codes), "the page that may show them"
    first, second, third, *_ = codes
    file = look(browser.send("recovery_download", format="csv"))
    assert first in file.text, "the file that may hold them"
    pages = [look(browser.send("recovery_email"))]
    for row in apps.get_model("django_q", "OrmQ").objects.all():
        witness.note("task", row.task)
        pkgutil.resolve_name(row.task["func"])(*row.task["args"])
    assert len(delivered_by_mail(codes)) == 1, "the e-mail that may hold them"
    for send in (browser.send, browser.send_json):
        for name in ("verify_setup", "invalidate", "delete"):
            for code in (first, " 1. " + second.replace("-", "\u2013"), third + "x"):
                pages.append(look(send(f"recovery_{name}", recovery_code=code)))
                pages.append(look(browser.open()))
    pages += [look(send("recovery_download")), look(send("recovery_email"))]
    pages += [look(browser.open(name)) for name in ("recovery_email_status", "recovery_events")]
    browser.send("recovery_generate", confirm="on")
    again = browser.open().context["plaintext"].codes
    pages += [look(browser.send("recovery_saved")), look(browser.open())]
    pages += [look(browser.send("recovery_delete_all")), look(browser.open())]
    pages.append(look(browser.send("recovery_delete_all", confirm="on")))
    for page in pages:
        witness.note("page", page.content)
    witness.note("cookies", browser.cookies.output())
    witness.note("session", dict(browser.session.items()))
    for code in (*codes, *again):
        assert witness.places_of(code) == []


@pytest.fixture
def admin_mails(settings):
    """Reports of errors with all local variables go to ADMINS."""
    admin = "admin@example.com"
    settings.ADMINS = [admin] if django.VERSION >= (6, 0) else [("Admin", admin)]
    logging_to_admins = logging.getLogger("django.request")
    handler = AdminEmailHandler(include_html=True)
    logging_to_admins.addHandler(handler)
    yield
    logging_to_admins.removeHandler(handler)


@pytest.fixture
def made(monkeypatch):
    """Every code that is generated from now on."""
    made = []
    genuine = code_room.generate

    def remember():
        made.append(genuine())
        return made[-1]

    monkeypatch.setattr(code_room, "generate", remember)
    return made


@pytest.fixture(params=[True, False], ids=["middleware", "no middleware"])
def with_and_without_middleware(request, settings):
    if not request.param:
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "recovery" not in name]


TYPED = {
    "recovery_verify_setup": [
        "recovery_backend.views.actions.presented_code",
        "recovery_backend.views.actions.ActionView.done",
        "recovery_backend.flows.verify",
        "recovery_backend.flows.count_action",
        "recovery_backend.backends.open_attempt",
        "recovery_backend.backends.judge",
        "recovery_backend.cooldown.charge",
        "recovery_backend.cooldown.refund",
        "recovery_backend.codes.canonicalise",
        "recovery_backend.codes._seal",
        "recovery_backend.codes.PresentedCode.__init__",
        "recovery_backend.codes.PresentedCode.digests",
        "recovery_backend.codes.PresentedCode.is_bound_to",
        "recovery_backend.audit.record",
    ],
    "recovery_invalidate": [
        "recovery_backend.flows.invalidate_code",
        "recovery_backend.flows.require_recent_sign_in",
        "recovery_backend.models.RecoveryCode.retire",
        "recovery_backend.models.RecoveryCode.is_sealed",
        "recovery_backend.tasks.notify",
    ],
    "recovery_delete": [
        "recovery_backend.flows.delete_code",
        "recovery_backend.models.codes.RecoveryCodeQuerySet.presented_by",
        "recovery_backend.tasks.send_on_commit",
        "recovery_backend.views.page.protected",
    ],
}


@pytest.mark.parametrize(
    ("page", "holder"), [(page, holder) for page, holders in TYPED.items() for holder in holders]
)
def test_a_fault_while_a_code_is_typed_on_the_dashboard_leaks_nothing(
    browser, codes, witness, admin_mails, monkeypatch, page, holder, with_and_without_middleware
):
    """R-84"""
    monkeypatch.setattr(holder, failing(holder, RuntimeError("a fault")))
    browser.raise_request_exception = False
    response = browser.send(page, recovery_code=codes[0])
    witness.note("page", response.content)
    assert response.status_code == 500
    assert mail.outbox, "the report that must not leak was not sent"
    assert witness.places_of(codes[0]) == []


DELIVERING = {
    "recovery_generate": [
        "recovery_backend.stash.keep",
        "recovery_backend.stash.seal",
        "recovery_backend.stash.framed",
        "recovery_backend.stash.write_cookie",
        "recovery_backend.stash.json.dumps",
        "recovery_backend.codes.display",
        "recovery_backend.models.RecoveryCode.made_from",
        "recovery_backend.models.batches.Issued",
        "recovery_backend.cooldown.open_account",
        "recovery_backend.cooldown.count_repeat",
        "recovery_backend.tasks.notify",
        "recovery_backend.audit.record",
        "recovery_backend.views.actions.ActionView.done",
    ],
    "recovery_dashboard": [
        "recovery_backend.stash.read",
        "recovery_backend.stash.unseal",
        "recovery_backend.stash._unexpired",
        "recovery_backend.stash.Stashed",
        "recovery_backend.flows.delivery._claim_view",
        "recovery_backend.flows.delivery.Plaintext",
        "recovery_backend.history.overview_of",
        "recovery_backend.views.dashboard._messages",
        "recovery_backend.views.dashboard._delivery",
        "recovery_backend.views.page.protected",
        "recovery_backend.stash.write_cookie",
    ],
    "recovery_download": [
        "recovery_backend.flows.download",
        "recovery_backend.tasks.sheet_of",
        "recovery_backend.exports.render",
        "recovery_backend.tasks.CodeSheet",
        "recovery_backend.exports.ExportFile",
        "recovery_backend.models.RecoveryCodeBatch.mark_downloaded",
        "recovery_backend.tasks.notify",
        "recovery_backend.audit.record",
        "recovery_backend.views.delivery.content_disposition_header",
        "recovery_backend.views.delivery.HttpResponse",
        "recovery_backend.stash.write_cookie",
        "recovery_backend.views.page.protected",
    ],
    "recovery_email": [
        "recovery_backend.stash.seal",
        "recovery_backend.models.RecoveryCodeBatch.queue_email",
        "recovery_backend.tasks.email_codes",
        "recovery_backend.audit.record",
        "recovery_backend.cooldown.count_repeat",
        "recovery_backend.views.actions.ActionView.done",
    ],
}


@pytest.mark.parametrize(
    ("page", "holder"),
    [(page, holder) for page, holders in DELIVERING.items() for holder in holders],
)
def test_a_fault_while_codes_are_handed_over_leaks_nothing(
    browser, made, witness, admin_mails, settings, monkeypatch, page, holder
):
    """R-84"""
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
    if page != "recovery_generate":
        browser.send("recovery_generate")
    mail.outbox.clear()
    monkeypatch.setattr(holder, failing(holder, RuntimeError("a fault")))
    browser.raise_request_exception = False
    send = browser.open if page == "recovery_dashboard" else browser.send
    response = send(page)
    witness.note("page", response.content)
    assert response.status_code == 500
    delivered_by_mail(made)
    assert mail.outbox, "the report that must not leak was not sent"
    for code in made:
        assert witness.places_of(code) == []


def use_template(settings, name, source):
    """A project's own version of a template."""
    own = ("django.template.loaders.locmem.Loader", {name: source})
    [engine] = settings.TEMPLATES
    settings.TEMPLATES = [
        {
            **engine,
            "APP_DIRS": False,
            "OPTIONS": {
                **engine["OPTIONS"],
                "loaders": [own, "django.template.loaders.app_directories.Loader"],
            },
        }
    ]


def test_a_fault_in_a_template_that_shows_codes_leaks_nothing(
    browser, made, witness, admin_mails, settings
):
    """R-84: a project's own template may fail in the middle of the list."""
    browser.send("recovery_generate")
    mail.outbox.clear()
    looping = "{% for code in plaintext.codes %}{% include 'no_such_part.html' %}{% endfor %}"
    use_template(settings, "recovery_backend/dashboard.html", looping)
    browser.raise_request_exception = False
    response = browser.open()
    witness.note("page", response.content)
    assert response.status_code == 500
    assert mail.outbox, "the report that must not leak was not sent"
    for code in made:
        assert witness.places_of(code) == []


@pytest.mark.parametrize(
    "holder",
    [
        "recovery_backend.tasks._has_left",
        "recovery_backend.tasks._close_email",
        "recovery_backend.stash.unseal",
        "recovery_backend.tasks.CodeSheet",
        "recovery_backend.emails.send_codes",
        "recovery_backend.emails._about_codes",
        "recovery_backend.accounts.send_message",
        "recovery_backend.accounts.render_to_string",
        "recovery_backend.accounts.EmailMultiAlternatives.send",
    ],
)
def test_a_fault_while_codes_are_e_mailed_leaks_nothing(
    browser, made, witness, admin_mails, settings, monkeypatch, holder
):
    """R-84: in the worker, and in the request where there is none."""
    browser.send("recovery_generate")
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
    browser.send("recovery_email")
    [row] = [
        row
        for row in apps.get_model("django_q", "OrmQ").objects.all()
        if "send_codes" in row.task["func"]
    ]
    monkeypatch.setattr(holder, failing(holder, RuntimeError("a fault")))
    try:
        pkgutil.resolve_name(row.task["func"])(*row.task["args"])
    except RuntimeError as error:
        reporter = ExceptionReporter(None, type(error), error, error.__traceback__.tb_next)
        witness.note("report", reporter.get_traceback_html())
        witness.note("report", reporter.get_traceback_text())
    delivered_by_mail(made)
    for code in made:
        assert witness.places_of(code) == []
