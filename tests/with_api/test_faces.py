"""What has to hold on the pages holds by JSON too: one suite, run through both faces."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from uuid import uuid4

import pytest
from django.conf import settings as site
from django.core.cache import cache
from django.db import connection, connections, transaction
from django_q.models import OrmQ

from recovery_backend import cooldown, stash
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.conftest import WRONG_CODE
from tests.owner import active, set_up, usable
from tests.test_canary import delivered_by_mail, every_cell
from tests.test_races import overtake, together  # noqa: F401  # a fixture
from tests.unwrapping import unwrapped
from tests.views.conftest import headers_of, masked
from tests.with_api.conftest import HAS_ALLAUTH, JSON_TYPE
from tests.with_api.faces import FORM_TYPE, Api, Pages

FACES = [Pages, Api]
ROUNDS = 20 if connection.vendor != "sqlite" else 3


@pytest.fixture(params=FACES)
def face(request):
    return request.param


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kinds", [[Pages], [Api], FACES], ids=["pages", "api", "both"])
class TestRaces:
    """What the tabs of one user do at one moment."""

    @pytest.fixture(autouse=True)
    def many_tries(self, settings):
        set_up(settings, CLIENT_RATE="100000/m", MAX_LOGIN_ATTEMPTS=100, NOTIFY=False)

    @pytest.fixture(autouse=True)
    def immediate(self, monkeypatch):
        """What check W013 asks of SQLite: allauth's list of sessions reads and then writes."""
        if HAS_ALLAUTH and connection.vendor == "sqlite":
            options = connections.settings["default"]["OPTIONS"]
            monkeypatch.setitem(options, "transaction_mode", "IMMEDIATE")

    @pytest.fixture
    def at_once(self, kinds):
        """The outcomes of the same thing in so many tabs, whose faces alternate."""

        def at_once(number, face, act):
            tabs = [face.tab(kinds[position % len(kinds)]) for position in range(number)]
            return together(number, lambda position: act(tabs[position]))

        return at_once

    def test_of_twenty_sign_ins_with_one_code_one_succeeds(self, make_user, at_once):
        """R-21"""
        user, stranger = make_user(), Pages.of()
        plain_codes, _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=ROUNDS)
        for code in plain_codes:
            outcomes = at_once(20, stranger, lambda tab, code=code: tab.sign_in(user.email, code))
            assert words(outcomes) == {"done": 1, "refused": 19}
            cooldown.clear(cooldown.account_key(user.email))
        assert RecoveryCode.objects.filter(status="used").count() == ROUNDS
        assert RecoveryCodeAudit.objects.filter(event=Event.LOGIN_SUCCESS).count() == ROUNDS

    def test_parallel_generations_leave_one_active_batch(self, user, at_once):
        """R-44"""
        face = Pages.of(user)
        outcomes = at_once(10, face, lambda tab: tab.generate())
        # By JSON, codes that are replaced before they are answered are not handed out.
        gone = [it for it in outcomes if it.word == "refused"]
        assert {it.answer.status_code for it in gone} <= {410}
        assert words(outcomes)["done"] + len(gone) == RecoveryCodeBatch.objects.count() == 10
        batch = RecoveryCodeBatch.objects.get(status="active")
        working = RecoveryCode.objects.usable().of_user(user)
        assert set(working.values_list("batch", flat=True)) == {batch.pk}
        assert working.count() == 10

    def test_of_parallel_downloads_one_gets_the_file(self, user, at_once):
        """R-76"""
        face = Api.of(user)
        plain_codes = face.new_codes()
        outcomes = at_once(10, face, lambda tab: tab.download())
        assert words(outcomes) == {"done": 1, "refused": 9}
        [file] = [it.answer.text for it in outcomes if it.word == "done"]
        assert all(code in file for code in plain_codes)
        assert not any(plain_codes[0] in it.answer.text for it in outcomes if it.word != "done")
        assert RecoveryCodeAudit.objects.filter(event=Event.BATCH_DOWNLOADED).count() == 1

    def test_of_parallel_requests_one_sends_the_e_mail(self, user, at_once):
        """R-81"""
        face = Api.of(user)
        face.new_codes()
        outcomes = at_once(10, face, lambda tab: tab.email())
        assert words(outcomes) == {"done": 1, "refused": 9}
        assert OrmQ.objects.count() == 1 and active(user).email_state == "queued"

    @pytest.mark.parametrize("how", ["invalidate", "delete"])
    def test_of_parallel_endings_of_one_code_one_is_done(self, user, codes, at_once, how):
        """R-46"""
        outcomes = at_once(10, Pages.of(user), lambda tab: getattr(tab, how)(codes[0]))
        assert words(outcomes) == {"done": 1, "refused": 9}
        events = (Event.CODE_INVALIDATED, Event.CODE_DELETED)
        assert RecoveryCodeAudit.objects.filter(event__in=events).count() == 1
        assert usable(user) == 2


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_a_code_that_is_used_after_it_was_looked_up_is_refused_as_used(
    user,
    codes,
    overtake,  # noqa: F811
    events,
    face,
):
    """R-21, R-26: whatever else keeps two tries apart, spending it is conditional by itself."""
    overtake(user, codes[0])
    too_late = face.of().sign_in(user.email, codes[0])
    assert events()[1:] == [("mfa.fallback_used", ""), ("code.replay", "used")]
    start_anew()
    again = face.of().sign_in(user.email, codes[0])
    assert too_late.word == again.word == "refused"
    assert seen(too_late.answer, user.email) == seen(again.answer, user.email)
    assert usable(user) == 2


def words(outcomes):
    return Counter(outcome.word for outcome in outcomes)


@pytest.mark.django_db
class TestSameAnswer:
    """R-26, R-57: nobody learns what was wrong."""

    @pytest.mark.parametrize(("failures", "word"), [(0, "refused"), (4, "refused"), (5, "wait")])
    def test_every_refusal_is_the_same(self, attempts, statements, clock, face, failures, word):
        if word == "wait":
            attempts["right"] = ("owner@example.com", attempts["right code, unknown e-mail"][1])
        networks = (f"10.0.0.{number}" for number in itertools.count(1))
        left, told = RecoveryCode.objects.usable().count(), {}
        for reason, (email, code) in attempts.items():
            start_anew()
            stranger = face.of(REMOTE_ADDR=next(networks))
            for _ in range(failures):
                stranger.sign_in(email, WRONG_CODE)
            with statements() as queries:
                outcome = stranger.sign_in(email, code)
            assert (reason, outcome.word) == (reason, word)
            told[reason] = (*seen(outcome.answer, email), len(queries))
        assert len(set(told.values())) == 1, told
        assert RecoveryCode.objects.usable().count() == left

    @pytest.mark.parametrize("act", ["verify", "invalidate", "delete"])
    def test_codes_that_are_not_theirs_are_the_same(
        self, attempts, make_user, make_codes, statements, clock, face, act
    ):
        """R-33: whosever they are, and in whatever state."""
        me = make_user()
        make_codes(me)
        told = {}
        for reason, (_email, code) in attempts.items():
            start_anew()
            browser = face.of(me)
            with statements() as queries:
                outcome = getattr(browser, act)(code)
            assert outcome.word == "refused"
            told[reason] = (*seen(outcome.answer), len(queries))
        assert len(set(told.values())) == 1, told
        assert usable(me) == 3


def start_anew():
    """As if nobody had tried before: no counters, and none that the cache remembers."""
    RecoveryCodeCooldown.objects.all().delete()
    cache.clear()


def seen(answer, *typed):
    """All that a client sees: the cookies by their names, for their values are random."""
    return (
        answer.status_code,
        masked(answer, *typed),
        str(headers_of(answer)),
        str(sorted(answer.cookies)),
    )


@pytest.mark.django_db(transaction=True)
def test_a_whole_journey_leaves_no_secret_anywhere(
    user, make_user, witness, settings, run_queue, face
):
    """R-10, R-70, R-83, R-119: made, delivered, tested, ended, used, read of, and refused."""
    set_up(settings, EMAIL_SENDER_LOGGING=True)
    settings.DJANGO_AUTH_RECOVERY_CODE_STORE_EMAIL_LOG = True

    def note(answer):
        witness.note("body", answer.content)
        witness.note("headers", dict(answer.headers))

    def look(outcome, word):
        assert outcome.word == word
        note(outcome.answer)

    owner, stranger, nobody = face.of(user), face.of(make_user()), face.of()
    codes = owner.new_codes()
    keys = {site.DJANGO_AUTH_RECOVERY_KEY, owner.client.cookies[stash.COOKIE].value}
    keys |= {key for name, key in owner.handle.items() if name == "delivery_key"}
    look(stranger.do("download", **owner.handle), "refused")
    file = owner.download()
    assert file.word == "done" and codes[0] in file.answer.text, "the file that may hold them"
    look(owner.download(), "refused")
    look(owner.email(), "done")
    for row in OrmQ.objects.all():
        witness.note("task", row.task)
    run_queue()
    assert len(delivered_by_mail(codes)) == 1, "the e-mail that may hold them"
    look(owner.email(), "refused")
    first, second, third, fourth, *_ = codes
    for act, code in [("verify", first), ("invalidate", second), ("delete", third)]:
        look(getattr(stranger, act)(code), "refused")
        look(getattr(owner, act)(code), "done")
        look(getattr(owner, act)(f"{code}x"), "refused")
    look(owner.do("verify", **{fourth: fourth}), "refused")  # as the name of a field
    look(owner.do("delete-all", batch=fourth), "refused")
    look(nobody.sign_in("nobody@example.com", fourth), "refused")
    # In the wrong field; the page shows what was typed there to whoever typed it.
    assert nobody.sign_in(fourth, user.email).word == "refused"
    look(nobody.sign_in(user.email, fourth), "done")
    for _ in range(5):
        look(face.of().sign_in(user.email, fourth), "refused")
    look(face.of().sign_in(user.email, first), "wait")
    for answer in owner.read():
        assert answer.status_code == 200
        note(answer)
    again = owner.new_codes()
    keys.add(owner.client.cookies[stash.COOKIE].value)
    look(owner.do("saved", **({"batch": owner.handle["batch"]} if owner.handle else {})), "done")
    look(owner.delete_all(), "done")
    for browser in (owner, stranger, nobody):
        witness.note("session", dict(browser.client.session.items()))
    for code in (*codes, *again):
        assert witness.places_of(code) == []
    cached = [("cache", blob) for blob in cache._cache.values()]
    for where, blob in [*witness.seen, *every_cell(), *cached]:
        assert not any(key.encode() in layer for layer in unwrapped(blob) for key in keys), where


BATCH, KEY = str(uuid4()), "0" * 64
FORMS = {
    "sign-in": {"email": "owner@example.com", "recovery_code": WRONG_CODE},
    "generate": {},
    "verify": {"recovery_code": WRONG_CODE},
    "invalidate": {"recovery_code": WRONG_CODE},
    "delete": {"recovery_code": WRONG_CODE},
    "delete-all": {"batch": BATCH},
    "saved": {"batch": BATCH},
    "download": {"batch": BATCH, "delivery_key": KEY, "format": "txt"},
    "email": {"batch": BATCH, "delivery_key": KEY},
}
FIELDS = [(name, key) for name, fields in FORMS.items() for key in fields]
FIELDS.append(("generate", "days_to_expire"))
TEXTS = [
    "",
    "  \t\n",
    "\x00",
    "owner\x00@example.com",
    "\ud800",
    "owner\udfff@example.com",
    "\u202eowner@example.com",
    "e\u0301" * 40,
    "\u0663",
    "' OR 1=1 --",
    "x" * 1000,
    "x" * 100_000,
    f"{'x' * 300}@example.com",
]
TYPES = [None, True, 0, -1, 1.5, 10**40, [], ["x", "y"], {}, {"x": ["y"]}]
BODIES = [
    b"",
    b"\xff\xfe\x00",
    b'"' + b"x" * 2_700_000 + b'"',
    b"[" * 100_000,
    b'{"recovery_code":' * 10_000,
    b"&".join(b"n%d=1" % number for number in range(1100)),
    b"recovery_code=x&recovery_code=y&email=a&email=b",
    b'{"recovery_code": "x", "recovery_code": "y"}',
    b'[{"recovery_code": "x"}]',
    b'{"days_to_expire": NaN}',
]
CONTENT_TYPES = [
    JSON_TYPE,
    FORM_TYPE,
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "text/plain",
    "application/json; charset=utf-7",
    "x",
]


@pytest.mark.django_db
class TestBadInput:
    """R-102: never an error, and by JSON nothing is spent or counted that the page would not."""

    @pytest.fixture(autouse=True)
    def browsers(self, user, codes):
        self.page, self.script = Pages.of(user), Api.of(user)

    @pytest.mark.parametrize(("name", "key"), FIELDS)
    @pytest.mark.parametrize("values", [TEXTS, TYPES], ids=["texts", "types"])
    def test_a_value(self, name, key, values):
        for value in values:
            fields = {**FORMS[name], key: value}
            by_json = effect(self.script, lambda tab, fields=fields: tab.do(name, **fields))
            on_page = effect(self.page, lambda tab, fields=fields: tab.do(name, **fields))
            assert by_json in (on_page, NOTHING), repr(value)[:80]

    @pytest.mark.parametrize("content_type", CONTENT_TYPES)
    @pytest.mark.parametrize("name", ["sign-in", "generate", "verify", "download"])
    def test_a_body(self, name, content_type):
        for body in BODIES:
            by_json = effect(
                self.script, lambda tab, body=body: tab.send(name, body, content_type)
            )
            on_page = effect(self.page, lambda tab, body=body: tab.send(name, body, content_type))
            assert by_json == NOTHING and not codes_of(on_page), body[:80]

    @pytest.mark.parametrize("key", FORMS["sign-in"])
    def test_a_name_that_comes_twice_spends_nothing_by_json(self, user, codes, key):
        fields = {"email": user.email, "recovery_code": codes[0]}
        body = f"{json.dumps(fields)[:-1]}, {json.dumps({key: fields[key]})[1:]}"
        assert json.loads(body) == fields
        by_json = effect(self.script, lambda tab: tab.send("sign-in", body.encode(), JSON_TYPE))
        assert by_json == NOTHING

    def test_what_is_right_has_an_effect(self, user, codes):
        """Comparing what nobody changes would prove nothing."""
        for browser in (self.page, self.script):
            for name in ("invalidate", "delete", "sign-in"):
                fields = {**FORMS[name], "recovery_code": codes[0]}
                changed = effect(browser, lambda tab, name=name, it=fields: tab.do(name, **it))
                assert codes_of(changed)


NOTHING: set[tuple[str, object, object]] = set()


def effect(browser, act):
    """What this changes; it is taken back afterwards."""
    with transaction.atomic():
        before = standing()
        act(browser.tab())
        changed = standing() ^ before
        transaction.set_rollback(True)
    cache.clear()
    return changed


def codes_of(changed):
    return {it for it in changed if it[0] == "code"}


def standing():
    """Every code, every batch, every counter, and the queue."""
    codes = RecoveryCode.objects.values_list("digest", "status")
    batches = RecoveryCodeBatch.objects.values_list("has_downloaded", "email_state", "sealed")
    counters = RecoveryCodeCooldown.objects.values_list("key", "failures")
    return {
        *(("code", *row) for row in codes),
        *(("batch", number, row) for number, row in enumerate(batches)),
        *(("counter", *row) for row in counters),
        ("queue", "", OrmQ.objects.count()),
    }
