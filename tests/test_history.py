"""R-88: what owners read of their codes is right at once, theirs only, and cheap."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.cache import cache
from django.core.management import call_command
from django_q.models import OrmQ

from recovery_backend import keys, tasks
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.codes import PresentedCode, canonicalise
from recovery_backend.history import (
    ACTIVITY_LENGTH,
    WORDS,
    cache_key,
    overview_of,
)
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.purge import purge_codes
from tests.conftest import WRONG_CODE
from tests.test_emails import use_mail_backend

PREFIX = "DJANGO_AUTH_RECOVERY_CODE"
STRANGER = "198.51.100.7"
LOGIN = "recovery.login."


def seen(user):
    """The overview as another process reads it: no object is shared."""
    return overview_of(get_user_model().objects.get(pk=user.pk))


def checked(user):
    """The overview with what the cache holds, which has to be the one without it."""
    warm = seen(user)
    cache.delete(cache_key(user))
    assert warm == seen(user)
    return warm


def events_of(overview):
    return [entry.event.removeprefix("recovery.") for entry in overview.activity]


@pytest.fixture
def other_browser(user, make_browser):
    """Where changes are made, after the page was looked at elsewhere."""
    browser = make_browser(user)
    browser.codes = browser.generate()
    return browser


@pytest.fixture
def committed(django_capture_on_commit_callbacks):
    return lambda: django_capture_on_commit_callbacks(execute=True)


def run_queue():
    for row in OrmQ.objects.filter().order_by("pk"):
        name = row.task["func"].removeprefix("recovery_backend.tasks.")
        getattr(tasks, name)(*row.task["args"])
        row.delete()


class TestCard:
    def test_a_new_batch_has_every_field(self, user, other_browser):
        batch = RecoveryCodeBatch.objects.get()
        card = seen(user).batch
        assert (card.pk, card.public_id, card.status) == (batch.pk, batch.public_id, "active")
        assert (card.issued_at, card.modified_at) == (batch.issued_at, batch.modified_at)
        assert card.expires_at is None and not card.is_expired
        assert (card.number_issued, card.number_active, card.number_left) == (10, 10, 10)
        assert (card.number_used, card.number_deactivated, card.number_removed) == (0, 0, 0)
        assert card.has_viewed
        assert (card.has_downloaded, card.has_emailed) == (False, False)
        assert card.shown_email_state == "none"
        assert card.is_active and card.status_text == "active"

    def test_without_codes_there_is_no_card(self, user):
        overview = checked(user)
        assert (overview.batch, overview.cards, overview.left) == (None, [], 0)
        assert not (overview.is_out or overview.is_low or overview.is_expired)
        assert list(overview.page(1)) == []


class TestFreshness:
    """The old entry is still in the cache when somebody else changes something."""

    @pytest.fixture
    def look(self, user, other_browser):
        """The active card, or the newest one, after it was cached and then changed."""
        before, key = seen(user), cache_key(user)
        assert cache.get(key) is not None

        def look():
            assert cache.get(key)[1] == before
            overview = checked(user)
            return overview.batch or overview.cards[0]

        return look

    def test_a_used_code(self, user, other_browser, look, try_code):
        assert try_code(user.email, other_browser.codes[0]) == user
        card = look()
        assert (card.number_used, card.number_left) == (1, 9)

    def test_an_invalidated_code(self, other_browser, look):
        other_browser.send("recovery_invalidate", recovery_code=other_browser.codes[0])
        card = look()
        assert (card.number_deactivated, card.number_left) == (1, 9)

    def test_a_deleted_code(self, other_browser, look):
        other_browser.send("recovery_delete", recovery_code=other_browser.codes[0])
        card = look()
        assert (card.number_removed, card.number_left) == (1, 9)

    def test_all_codes_deleted(self, user, other_browser, look):
        other_browser.send("recovery_delete_all", confirm="on")
        card = look()
        assert (card.status, card.number_removed, card.number_left) == ("deleted", 10, 0)
        assert seen(user).batch is None

    def test_new_codes(self, user, other_browser, look):
        other_browser.send("recovery_generate", confirm="on")
        assert look().has_viewed is False
        cards = seen(user).cards
        assert [card.status for card in cards] == ["active", "superseded"]
        assert [card.number_deactivated for card in cards] == [0, 10]

    def test_new_codes_by_a_function(self, user, look, make_codes):
        make_codes(user, number_of_codes=4, days_to_expire=3)
        card = look()
        assert (card.number_issued, card.expires_at is None) == (4, False)

    def test_a_view(self, user, other_browser):
        other_browser.send("recovery_generate", confirm="on")
        assert seen(user).batch.has_viewed is False
        other_browser.open()
        assert checked(user).batch.has_viewed is True

    def test_a_download(self, other_browser, look):
        other_browser.send("recovery_download")
        assert look().has_downloaded is True

    def test_an_e_mail_that_is_queued_and_then_sent(self, user, other_browser, look, committed):
        with committed():
            other_browser.send("recovery_email")
        card = look()
        assert (card.shown_email_state, card.has_emailed) == ("queued", True)
        seen(user)
        run_queue()
        card = checked(user).batch
        assert (card.shown_email_state, card.has_emailed) == ("sent", True)

    def test_an_e_mail_that_fails(self, user, other_browser, look, committed, settings):
        use_mail_backend(settings, "tests.test_emails.BrokenMail")
        with committed():
            other_browser.send("recovery_email")
        seen(user)
        run_queue()
        card = checked(user).batch
        assert (card.shown_email_state, card.has_emailed) == ("failed", False)
        assert mail.outbox == []

    def test_an_e_mail_that_nobody_sent_in_time(
        self, user, other_browser, committed, settings, clock
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_CACHE_TTL = 3600
        other_browser.send("recovery_generate", confirm="on")
        with committed():
            other_browser.send("recovery_email")
        assert seen(user).batch.shown_email_state == "queued"
        clock.shift(900)
        assert cache.get(cache_key(user)) is not None
        assert checked(user).batch.shown_email_state == "failed"

    def test_expiry_by_the_clock(self, user, make_codes, clock, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_CACHE_TTL = 86_400
        settings.DJANGO_AUTH_RECOVERY_CODES_CACHE_MAX = 86_400
        make_codes(user, days_to_expire=1)
        clock.shift(86_400 - 60)
        assert seen(user).left == 3
        clock.shift(60)
        assert cache.get(cache_key(user)) is not None
        overview = checked(user)
        assert overview.is_expired and overview.is_out and overview.left == 0
        assert overview.batch.status_text == "expired"

    def test_a_passed_test(self, user, other_browser, look):
        assert seen(user).has_passed_test is False
        other_browser.send("recovery_verify_setup", recovery_code=other_browser.codes[0])
        assert checked(user).has_passed_test is True

    def test_a_retired_key(self, user, other_browser, look, settings):
        kid = keys.write_key().id
        old = settings.DJANGO_AUTH_RECOVERY_KEY
        settings.DJANGO_AUTH_RECOVERY_KEY = keys.generate_key()
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [old]
        call_command("recovery_keys", "retire", kid, "--force", stdout=StringIO())
        card = look()
        assert (card.status, card.number_deactivated) == ("invalidated", 10)

    @pytest.mark.parametrize("is_empty", [False, True])
    def test_a_purge(self, user, make_codes, try_code, clock, settings, is_empty):
        """R-109: whatever became of the codes, the card goes on telling it."""
        settings.DJANGO_AUTH_RECOVERY_CODES_CACHE_TTL = 3600
        plain_codes = make_codes(user, number_of_codes=4, days_to_expire=20)
        clock.shift(86_400)
        used, invalidated, deleted = plain_codes[:3]
        RecoveryCode.objects.presented(PresentedCode(invalidated)).retire("invalidated")
        RecoveryCode.objects.presented(PresentedCode(deleted)).retire("deleted")
        clock.shift(60)
        assert try_code(user.email, used) == user
        clock.shift((19 + 40) * 86_400)
        before = seen(user)
        assert purge_codes(30).codes == 4
        assert RecoveryCode.objects.count() == 0
        assert checked(user) == before
        card = before.batch
        assert (card.number_used, card.number_deactivated, card.number_removed) == (1, 1, 1)
        assert (card.number_issued, card.number_left, before.left) == (4, 0, 0)
        assert card.modified_at > card.issued_at
        if is_empty:
            assert purge_codes(30, delete_empty_batches=True).batches == 1
            assert checked(user).cards == []

    def test_an_older_entry_that_another_process_puts_back(self, user, other_browser, try_code):
        seen(user)
        stale = cache.get(cache_key(user))
        try_code(user.email, other_browser.codes[0])
        assert seen(user).left == 9
        cache.set(cache_key(user), stale)
        assert checked(user).left == 9

    def test_a_change_that_began_earlier_and_commits_later(self, user, other_browser):
        """Its audit row has the lower number of two."""
        last = RecoveryCodeAudit.objects.latest("pk").pk
        row = {"user": user, "event": Event.CODE_INVALIDATED, "outcome": "done"}
        RecoveryCodeAudit.objects.bulk_create([RecoveryCodeAudit(pk=last + 2, **row)])
        assert seen(user).left == 10
        presented = PresentedCode(other_browser.codes[0])
        RecoveryCode.objects.presented(presented).retire(RecoveryCode.Status.INVALIDATED)
        RecoveryCodeAudit.objects.bulk_create([RecoveryCodeAudit(pk=last + 1, **row)])
        assert checked(user).left == 9

    def test_a_strangers_try(self, user, other_browser, look, try_code):
        assert try_code(user.email, WRONG_CODE, STRANGER) is None
        look()
        assert events_of(seen(user))[0] == "login.fail"

    @pytest.mark.parametrize("visible", [1, 2, 50])
    def test_a_changed_setting(self, user, make_codes, settings, visible):
        for _ in range(4):
            make_codes(user)
        assert len(seen(user).cards) == 4
        setattr(settings, f"{PREFIX}_MAX_VISIBLE", visible)
        assert len(checked(user).cards) == min(visible, 4)


class TestSummary:
    @pytest.mark.parametrize(
        ("number", "is_low", "is_out"), [(4, False, False), (3, True, False), (0, True, True)]
    )
    def test_few_and_none_left(self, user, make_codes, try_code, number, is_low, is_out):
        """R-41"""
        for code in make_codes(user, number_of_codes=5)[number:]:
            try_code(user.email, code)
        overview = checked(user)
        assert (overview.left, overview.is_low, overview.is_out) == (number, is_low, is_out)


class TestPages:
    @pytest.fixture(autouse=True)
    def twenty_batches(self, user, make_codes):
        for number in range(20):
            make_codes(user, number_of_codes=number % 5 + 1)

    def test_newest_come_first_in_pages_of_five(self, user, browser):
        page = browser.open().context["history"]
        assert (len(page.object_list), page.paginator.num_pages) == (5, 4)
        newest = RecoveryCodeBatch.objects.order_by("-issued_at").values_list("pk", flat=True)
        shown = [
            card.pk
            for number in range(1, 5)
            for card in browser.open(data={"page": number}).context["history"]
        ]
        assert shown == list(newest)

    def test_the_length_of_a_page_is_a_setting(self, browser, settings):
        setattr(settings, f"{PREFIX}_PER_PAGE", 7)
        page = browser.open().context["history"]
        assert (len(page.object_list), page.paginator.num_pages) == (7, 3)

    def test_how_many_are_seen_is_a_setting(self, user, browser, settings, make_codes):
        setattr(settings, f"{PREFIX}_MAX_VISIBLE", 6)
        pages = browser.open().context["history"].paginator
        assert (pages.count, pages.num_pages) == (6, 2)
        assert seen(user).batch.pk == RecoveryCodeBatch.objects.latest("pk").pk

    @pytest.mark.parametrize(
        ("typed", "number"),
        [("", 1), ("x", 1), ("1.5", 1), ("²", 1), ("\x00", 1), ("9" * 5000, 1), ("<script>", 1)]
        + [("0", 4), ("-1", 4), ("99", 4), ("1e9", 1), ("2", 2), ("4", 4)],
    )
    def test_any_page_number_leads_to_a_page(self, browser, typed, number):
        response = browser.open(data={"page": typed})
        assert response.status_code == 200
        assert response.context["history"].number == number
        assert "<script>" not in response.text

    def test_it_costs_few_queries(self, browser, statements):
        with statements() as cold:
            browser.open()
        with statements() as warm:
            browser.open()
        assert len(cold) <= 6, cold
        assert len(warm) <= 3, warm

    def test_another_page_is_warm_too(self, browser, statements):
        browser.open()
        with statements() as warm:
            browser.open(data={"page": 3})
        assert len(warm) <= 3


class TestCache:
    @pytest.mark.parametrize(
        ("ttl", "least", "most", "seconds"),
        [
            (300, 0, 3600, 300),
            (10, 30, 3600, 30),
            (300, 0, 60, 60),
            (0, 20, 3600, 20),
            (0, 0, 3600, 0),
            (300, 0, 0, 0),
        ],
    )
    def test_it_is_kept_as_long_as_the_settings_say(
        self, user, codes, settings, clock, ttl, least, most, seconds
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_CACHE_TTL = ttl
        settings.DJANGO_AUTH_RECOVERY_CODES_CACHE_MIN = least
        settings.DJANGO_AUTH_RECOVERY_CODES_CACHE_MAX = most
        assert seen(user) == seen(user)
        assert (cache.get(cache_key(user)) is not None) is (seconds > 0)
        if seconds:
            clock.shift(seconds - 1)
            assert cache.get(cache_key(user)) is not None
            clock.shift(1)
            assert cache.get(cache_key(user)) is None

    def test_it_holds_no_code_and_no_address(self, user, other_browser, try_code):
        other_browser.send("recovery_generate", confirm="on")
        codes = other_browser.open().context["plaintext"].codes
        try_code(user.email, codes[0])
        seen(user)
        entries = [repr(item) for item in cache._cache.items()]
        assert any(cache_key(user) in entry for entry in entries)
        for text in (user.email, user.username, *codes, *map(canonicalise, codes)):
            assert not any(text in entry for entry in entries)

    def test_it_is_one_users(self, user, codes, make_user, make_codes):
        other = make_user()
        make_codes(other, number_of_codes=7)
        for _ in range(2):
            assert (seen(user).left, seen(other).left) == (3, 7)

    def test_a_broken_cache_costs_nothing_but_time(self, user, browser, make_codes, settings):
        """R-31"""
        settings.CACHES = {"default": {"BACKEND": "tests.test_backends.BrokenCache"}}
        make_codes(user, number_of_codes=4)
        assert browser.open().context["overview"].left == 4
        make_codes(user, number_of_codes=6)
        assert browser.open().context["overview"].left == 6

    def test_under_a_site_wide_cache_everybody_gets_their_own_page(
        self, user, codes, make_user, make_browser, settings
    ):
        """R-75: pages of ours are never stored, whoever is signed in."""
        settings.MIDDLEWARE = [
            "django.middleware.cache.UpdateCacheMiddleware",
            *settings.MIDDLEWARE,
            "django.middleware.cache.FetchFromCacheMiddleware",
        ]
        other = make_user()
        owner, neighbour = make_browser(user), make_browser(other)
        owner.send("recovery_generate", confirm="on")
        shown = owner.open().context["plaintext"].codes
        for _ in range(2):
            assert neighbour.open().context["account"] == other.email
            page = owner.open()
            assert page.context["account"] == user.email
            assert not any(code[:13] in page.text for code in shown)
        for name in ("recovery_email_status", "recovery_events"):
            owner.open(name)
        stored = [key for key in cache._cache if "views.decorators.cache" in key]
        assert stored == []


@pytest.mark.parametrize("pk", [7, "a b\nc", "\u00e9" * 100])
def test_the_cache_names_nobody_and_takes_any_primary_key(user, pk, settings):
    """R-65: two sites may share one cache, and memcached takes no spaces."""
    user.pk = pk
    key = cache_key(user)
    assert re.fullmatch(r"recovery_backend:history:[0-9a-f]{64}", key)
    settings.DJANGO_AUTH_RECOVERY_KEY = keys.generate_key()
    assert cache_key(user) != key


class TestActivity:
    def test_own_events_come_newest_first(self, user, other_browser, try_code, clock):
        clock.shift(1)
        try_code(user.email, other_browser.codes[0])
        clock.shift(1)
        other_browser.send("recovery_delete_all", confirm="on")
        assert events_of(seen(user)) == [
            "batch.deleted",
            "login.success",
            "batch.viewed",
            "batch.generated",
        ]

    def test_it_says_when_and_from_which_network(self, user, codes, try_code):
        try_code(user.email, codes[0], "203.0.113.50")
        [entry, *_] = seen(user).activity
        row = RecoveryCodeAudit.objects.latest("pk")
        assert (entry.at, entry.network, entry.is_refusal) == (row.at, "203.0.113.0/24", False)
        assert entry.text == str(WORDS[Event.LOGIN_SUCCESS])

    def test_a_strangers_refused_try_with_the_address_is_seen(self, user, codes, try_code):
        try_code("OWNER@example.com ", WRONG_CODE, STRANGER)
        [entry, *_] = seen(user).activity
        assert (entry.event, entry.is_refusal) == ("recovery.login.fail", True)

    def test_it_does_not_say_where_strangers_are(self, user, codes, try_code, settings, clock):
        """Whoever sets another person's address would read from where that person signs in."""
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = 2
        for _ in range(3):
            try_code(user.email, WRONG_CODE, STRANGER)
        activity = seen(user).activity
        assert {"login.fail", "login.suspended"} <= set(events_of(seen(user)))
        assert [entry.network for entry in activity if entry.event.startswith(LOGIN)] == [""] * 2

    def test_strangers_do_not_push_out_what_happened_to_the_codes(
        self, user, codes, try_code, settings, clock
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 100
        for code in codes:
            assert try_code(user.email, code)
        for _ in range(15):
            clock.shift(1)
            try_code(user.email, WRONG_CODE, STRANGER)
        [tries, *_] = seen(user).activity
        assert tries.text == "15 sign-ins with your e-mail address were refused lately."
        found = events_of(seen(user))
        assert found.count("login.fail") == 1
        assert found.count("login.success") == 3

    def test_a_sign_in_with_a_code_ends_the_count(self, user, codes, try_code):
        try_code(user.email, WRONG_CODE, STRANGER)
        assert seen(user).activity[0].text == (
            "1 sign-in with your e-mail address was refused lately."
        )
        try_code(user.email, codes[0])
        assert "login.fail" not in events_of(seen(user))
        assert events_of(seen(user))[0] == "login.success_after_fail"

    def test_another_users_events_are_not(self, user, make_user, make_codes, try_code):
        other = make_user("other@example.com")
        [code] = make_codes(other, number_of_codes=1)
        try_code(other.email, code)
        try_code(other.email, WRONG_CODE)
        assert seen(user).activity == []

    def test_ones_code_with_another_address_is_seen_by_its_owner_only(
        self, user, codes, make_user, try_code
    ):
        other = make_user("other@example.com")
        try_code(other.email, codes[0])
        assert "login.owner_mismatch" in events_of(seen(user))
        assert [entry.tries for entry in seen(other).activity] == [1]

    @pytest.mark.parametrize("is_deleted", [True, False])
    def test_an_address_that_was_somebody_elses_brings_nothing_of_theirs(
        self, user, codes, make_user, make_browser, try_code, is_deleted
    ):
        former = make_browser(user)
        former.send("recovery_verify_setup", recovery_code=WRONG_CODE)
        former.send("recovery_verify_setup", recovery_code=codes[1])
        former.send("recovery_invalidate", recovery_code=codes[2])
        try_code(user.email, codes[0])
        try_code(user.email, codes[0])
        former.send("recovery_delete_all", confirm="on")
        if is_deleted:
            user.delete()
        else:
            user.email = "moved@example.com"
            user.save()
        assert set(events_of(seen(make_user("owner@example.com")))) <= {"login.fail"}

    def test_an_account_without_an_address_sees_nobodys_tries(self, user, try_code):
        try_code("", WRONG_CODE)
        user.email = ""
        user.save()
        assert seen(user).activity == []

    def test_it_is_short(self, user, codes, settings, try_code):
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 100
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "1000/m"
        try_code(user.email, codes[0])
        for _ in range(30):
            try_code(user.email, codes[0])
            try_code(user.email, WRONG_CODE, STRANGER)
        found = events_of(seen(user))
        assert len(found) == ACTIVITY_LENGTH + 1 == 11
        assert found.count("login.fail") == 1

    def test_every_word_is_a_sentence(self):
        assert all(str(text).endswith(".") for text in WORDS.values())
