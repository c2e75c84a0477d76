"""The secret of an API key is nowhere but in the one answer that hands it out (R-84)."""

from __future__ import annotations

import pickle

import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.views.debug import ExceptionReporter
from recovery_backend_api.keys import flows, tokens
from recovery_backend_api.keys.models import ApiKey
from recovery_backend_api.keys.tokens import PresentedKey

from recovery_backend.keys import write_key
from tests.test_canary import admin_mails, failing, witness  # noqa: F401  # fixtures
from tests.with_api.conftest import ApiClient
from tests.with_api.keys_site import KEYS, WHOAMI, WRONG_SECRET, ask, make_key, request_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.with_api.keys_site"),
]
NEW = {"name": "Nightly report", "days_to_expire": 30}


@pytest.fixture(autouse=True)
def look_for_keys(keys_on, witness):  # noqa: F811
    witness.needles_of = needles_of


def needles_of(text):
    secret = text.partition(".")[2]
    return {secret.encode(), secret[:16].encode(), bytes.fromhex(secret)[:8]}


def test_the_scan_finds_a_planted_secret(user, witness, client):  # noqa: F811
    """A scan that finds nothing proves something only if it can find something."""
    _key, text = make_key(user)
    assert witness.places_of(text) == []
    session = client.session
    session["planted"] = text
    session.save()
    assert "django_session" in witness.places_of(text)
    cache.set("planted", text)
    assert "cache" in witness.places_of(text)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_the_life_of_a_key_leaves_no_secret_anywhere(
    user,
    witness,  # noqa: F811
    settings,
    asynchronous,
):
    """R-10, R-83: from making it to the purge of its owner, refusals included."""
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = asynchronous
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "3/m"

    def look(answer):
        witness.note("headers", [dict(answer.headers), answer.cookies.output()])
        witness.note("page", answer.content)
        return answer

    api = ApiClient().sign_in(user)
    handed_out = api.send("keys", NEW)
    witness.note("headers", [dict(handed_out.headers), handed_out.cookies.output()])
    text = handed_out.json()["key"]
    look(ask(text))
    look(api.ask("keys"))
    for wrong in (
        f"{text}0",
        f"x{text}",
        text.upper(),
        f" {text}",
        text.partition(".")[2],
        f"{text} x",
    ):
        look(ask(wrong))
    ApiKey.objects.update(expires_at="2020-01-01T00:00Z")
    look(ask(text))
    look(api.send("keys/revoke", {"prefix": handed_out.json()["prefix"]}))
    look(ask(text))
    look(api.send("keys", {**NEW, "name": text, "days_to_expire": "x"}))
    look(api.send("keys/revoke", {"prefix": text}))
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = False
    look(ask(text))
    assert witness.places_of(text) == []
    get_user_model().objects.all().delete()
    assert witness.places_of(text) == []


def test_no_dump_holds_one(user, capsys):
    """R-20: a dump has the digest, as the table has, and nothing that could be presented."""
    _key, text = make_key(user)
    call_command("dumpdata", "recovery_backend_api_keys")
    dumped = capsys.readouterr().out
    assert text.partition(".")[0] in dumped
    assert not [needle for needle in needles_of(text) if needle in dumped.encode()]


def test_nothing_that_holds_a_key_shows_it(user):
    made = flows.create(request_of(user), name="a program", days_to_expire=1)
    key, presented = made.key, PresentedKey(made.text)
    for shown in (repr(made), repr(presented), str(presented), repr(key), f"{vars(key)}"):
        assert made.text.partition(".")[2] not in shown
    with pytest.raises(TypeError):
        pickle.dumps(presented)


HOLDERS = [
    "recovery_backend_api.keys.authentication.PresentedKey",
    "recovery_backend_api.keys.authentication._parts",
    "recovery_backend_api.keys.authentication.flows.use",
    "recovery_backend_api.keys.tokens.PresentedKey.__init__",
    "recovery_backend_api.keys.tokens.PresentedKey.is_stored_as",
    "recovery_backend_api.keys.tokens._seal",
    "recovery_backend_api.keys.tokens._digest",
    "recovery_backend_api.keys.tokens.keyring",
    "recovery_backend_api.keys.models.ApiKeyQuerySet.presented",
    "recovery_backend_api.keys.models.ApiKey.refusal",
    "recovery_backend_api.keys.models.ApiKey.note_use",
    "recovery_backend.audit.record",
    "tests.with_api.keys_site.WhoAmI.get",
]


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.usefixtures("admin_mails")
def test_a_fault_while_a_key_is_read_leaks_nothing(
    user,
    witness,  # noqa: F811
    monkeypatch,
    holder,
):
    _key, text = make_key(user)
    mail.outbox.clear()
    monkeypatch.setattr(holder, failing(holder, RuntimeError("a fault")))
    answer = ask(text, WHOAMI, client=Client(raise_request_exception=False))
    witness.note("page", answer.content)
    assert answer.status_code == 500
    assert mail.outbox, "the report that must not leak was not sent"
    assert witness.places_of(text) == []


CALLS = {
    "reading": lambda text, user: PresentedKey(text),
    "storing": lambda text, user: tokens.stored_digest(text, write_key(), user_id=user.pk),
    "making": lambda text, user: make_key(user),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_fault_in_a_call_from_python_leaks_nothing(user, monkeypatch, call):
    made = [f"rbk_0123456789ab.{WRONG_SECRET}"]
    monkeypatch.setattr(tokens, "generate", lambda prefix: made[0])
    path = "recovery_backend_api.keys.tokens._seal"
    monkeypatch.setattr(path, failing(path, RuntimeError("a fault")))
    try:
        CALLS[call](made[0], user)
    except RuntimeError as error:
        trace = error.__traceback__.tb_next.tb_next  # below this test, and its lambda
        reporter = ExceptionReporter(None, type(error), error, trace)
        assert WRONG_SECRET not in reporter.get_traceback_html()
    else:
        pytest.fail("the fault did not happen")


MAKERS = [
    "recovery_backend_api.keys.tokens.stored_digest",
    "recovery_backend_api.keys.tokens._seal",
    "recovery_backend_api.keys.tokens._digest",
    "recovery_backend_api.keys.flows.ApiKey.objects.create",
    "recovery_backend_api.keys.flows.Made",
    "recovery_backend_api.keys.flows.entry_for",
    "recovery_backend.audit.record",
    "recovery_backend.tasks.notify",
    "recovery_backend_api.keys.views.KeyAnswer",
    "recovery_backend_api.keys.views.Masked",
    "recovery_backend_api.keys.views.Response",
    "rest_framework.renderers.JSONRenderer.render",
    "recovery_backend.views.page.protected",
]


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.usefixtures("admin_mails")
def test_a_fault_while_a_key_is_made_leaks_nothing(
    user,
    witness,  # noqa: F811
    monkeypatch,
    maker,
):
    """Nor while its answer is written."""
    made = []
    genuine = tokens.generate

    def remember(prefix):
        made.append(genuine(prefix))
        return made[-1]

    monkeypatch.setattr(tokens, "generate", remember)
    api = ApiClient().sign_in(user)
    api.raise_request_exception = False
    mail.outbox.clear()
    monkeypatch.setattr(maker, failing(maker, RuntimeError("a fault")))
    answer = api.post(KEYS, NEW, content_type="application/json", headers=api.csrf)
    witness.note("page", answer.content)
    assert answer.status_code == 500
    assert mail.outbox, "the report that must not leak was not sent"
    assert made
    for text in made:
        assert witness.places_of(text) == []
