"""The row by which allauth knows of codes: when it is there, and that it opens nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.base.views import trust
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.utils import is_mfa_enabled
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection, connections, transaction
from django.urls import path, reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from recovery_backend_allauth import marker

from recovery_backend import audit
from recovery_backend.audit import Event
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.conftest import LOGIN, PASSWORD, Browser
from tests.test_races import together
from tests.with_allauth import urls
from tests.with_allauth.conftest import (
    ASKS_AGAIN,
    AUTHENTICATE,
    add_passkey,
    add_totp,
    totp_now,
)

pytestmark = pytest.mark.django_db

# allauth has this page where MFA_TRUST_ENABLED was set when its URLs were imported.
urlpatterns = [path("accounts/2fa/trust/", trust, name="mfa_trust"), *urls.urlpatterns]

FACTORS = {"totp": add_totp, "passkey": add_passkey}


def rows_of(user):
    return Authenticator.objects.filter(user=user, type="recovery_codes")


def has_marker(user):
    return any(marker.is_marker(row) for row in rows_of(user))


def give_password(user):
    browser = Browser()
    browser.post(reverse("account_login"), {"login": user.username, "password": PASSWORD})
    return browser


class TestExists:
    """It exists exactly while there is a factor and a code to fall back on."""

    @pytest.mark.parametrize("factor", FACTORS)
    @pytest.mark.parametrize("codes_first", [True, False])
    def test_with_a_factor_and_codes(self, user, make_codes, committed, factor, codes_first):
        steps = [lambda: make_codes(user), lambda: FACTORS[factor](user)]
        first, second = steps if codes_first else reversed(steps)
        with committed():
            first()
        assert not has_marker(user)
        with committed():
            second()
        assert has_marker(user)
        batch = RecoveryCodeBatch.objects.get()
        row = rows_of(user).get()
        assert (row.created_at, row.last_used_at) == (batch.issued_at, None)

    def test_not_with_codes_alone(self, user, make_codes, committed):
        """R-37: codes alone are no second factor."""
        with committed():
            make_codes(user)
        assert not rows_of(user).exists() and not is_mfa_enabled(user)
        browser = give_password(user)
        assert browser.session["_auth_user_id"] == str(user.pk)
        browser.post(reverse("account_email"), {"action_add": "", "email": "new@example.com"})
        assert EmailAddress.objects.filter(user=user, email="new@example.com").exists()

    @pytest.mark.parametrize(
        "end",
        [
            lambda batch: batch.invalidate_codes(),
            lambda batch: batch.delete_codes(),
            lambda batch: batch.codes.update(expires_at=timezone.now()),
            lambda batch: batch.codes.update(status="used"),
        ],
        ids=["invalidated", "deleted", "expired", "used"],
    )
    def test_not_after_the_codes_have_ended(self, totp_user, end):
        user, _ = totp_user
        end(RecoveryCodeBatch.objects.get())
        assert marker.sync(user) is None and not has_marker(user)

    def test_not_where_the_site_takes_no_codes(self, totp_user, settings):
        user, _ = totp_user
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
        assert marker.sync(user) is None and not has_marker(user)

    def test_a_list_of_allauths_own_ends_with_the_codes_that_its_owner_generates(
        self, user, make_codes, committed
    ):
        add_totp(user)
        stock = RecoveryCodes.activate(user).instance
        assert marker.sync(user) is None
        assert rows_of(user).get() == stock and not has_marker(user)
        with committed():
            make_codes(user)
        assert rows_of(user).get() == stock and has_marker(user)

    def test_nobody_loses_a_printed_list_by_signing_in(self, user, make_codes, before_step):
        """Codes of both kinds, from before this app was installed, or before they are adopted."""
        make_codes(user)
        add_totp(user)
        printed = RecoveryCodes.activate(user).generate_codes()[0]
        browser = before_step(user)
        assert not has_marker(user)
        assert browser.post(AUTHENTICATE, {"code": printed}).status_code == 302
        assert browser.session["_auth_user_id"] == str(user.pk)

    def test_it_never_holds_a_code_nor_what_leads_to_one(self, totp_user):
        user, _ = totp_user
        data = rows_of(user).get().data
        seed = f"recovery_backend:{RecoveryCodeBatch.objects.get().pk}"
        assert data == {"migrated_codes": [], "recovery_backend": 1, "seed": seed}


class TestGoes:
    """What people do on pages, and what the marker does then."""

    def test_with_the_last_code_at_the_step(self, totp_user, before_step, committed):
        user, codes = totp_user
        for left in (2, 1, 0):
            browser = before_step(user)
            with committed():
                browser.post(AUTHENTICATE, {"code": codes[left]})
            assert has_marker(user) is (left > 0)
        assert is_mfa_enabled(user)

    def test_with_the_last_code_on_the_page_of_address_and_code(self, totp_user, committed):
        user, codes = totp_user
        RecoveryCode.objects.filter(pk__in=RecoveryCode.objects.values("pk")[1:]).delete()
        with committed():
            answer = Browser().post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        assert answer.status_code == 302 and not has_marker(user)

    @pytest.fixture
    def browser(self, totp_user, before_step):
        user, codes = totp_user
        browser = before_step(user)
        browser.post(AUTHENTICATE, {"code": totp_now()})
        browser.user, browser.codes = user, codes
        return browser

    def test_with_the_codes_deleted_on_the_dashboard(self, browser, committed):
        with committed():
            assert browser.send("recovery_delete_all", confirm="on").status_code == 302
        assert not has_marker(browser.user)

    def test_with_the_last_code_invalidated_on_the_dashboard(self, browser, committed):
        for left, code in zip((2, 1, 0), browser.codes, strict=True):
            with committed():
                browser.send("recovery_invalidate", recovery_code=code)
            assert has_marker(browser.user) is (left > 0)

    def test_with_codes_that_expired_once_that_is_noted(self, totp_user, committed):
        user, _ = totp_user
        RecoveryCode.objects.update(expires_at=timezone.now())
        with committed():
            audit.record(audit.entry(Event.CODE_EXPIRED, user=user))
        assert not has_marker(user)

    def test_with_totp_removed_on_allauths_page_and_the_batch_stays(self, browser, committed):
        page = reverse("mfa_deactivate_totp")
        if ASKS_AGAIN:
            reauthenticate = browser.get(page)["Location"]
            browser.post(reauthenticate, {"password": PASSWORD})
        with committed():
            assert browser.post(page).status_code == 302
        assert not Authenticator.objects.filter(user=browser.user).exists()
        assert RecoveryCodeBatch.objects.active_of(browser.user).codes_left() == 3
        assert not is_mfa_enabled(browser.user)

    def test_with_totp_deleted_in_the_admin(self, totp_user, make_user, committed):
        user, _ = totp_user
        admin = Browser()
        admin.force_login(make_user(is_staff=True, is_superuser=True))
        row = Authenticator.objects.get(user=user, type="totp")
        with committed():
            answer = admin.post(
                reverse("admin:mfa_authenticator_delete", args=[row.pk]), {"post": "yes"}
            )
        assert answer.status_code == 302 and not has_marker(user)

    def test_with_totp_deleted_by_a_query(self, totp_user, committed):
        user, _ = totp_user
        with committed():
            Authenticator.objects.filter(user=user, type="totp").delete()
        assert not has_marker(user)
        assert RecoveryCodeBatch.objects.active_of(user)

    def test_not_while_another_factor_is_left(self, totp_user, committed):
        user, _ = totp_user
        add_passkey(user)
        with committed():
            Authenticator.objects.filter(user=user, type="totp").delete()
        assert has_marker(user)

    def test_and_the_user_can_be_deleted(self, totp_user, committed):
        user, _ = totp_user
        with committed():
            user.delete()
        assert not Authenticator.objects.exists() and not RecoveryCode.objects.exists()

    def test_and_users_can_be_deleted_by_a_query(self, totp_user, passkey_user, committed):
        with committed():
            get_user_model().objects.all().delete()
        assert not Authenticator.objects.exists()


class TestHeals:
    """What nobody told of is mended at the first factor, in time for the second."""

    @pytest.mark.parametrize("factor", FACTORS)
    def test_codes_from_before_this_app_was_installed(self, user, make_codes, committed, factor):
        FACTORS[factor](user)
        codes = make_codes(user)
        assert not has_marker(user)
        with committed():
            browser = give_password(user)
        assert has_marker(user)
        assert browser.post(AUTHENTICATE, {"code": codes[0]}).status_code == 302

    def test_a_row_that_was_deleted(self, totp_user, committed):
        user, _ = totp_user
        rows_of(user).delete()
        with committed():
            give_password(user)
        assert has_marker(user)

    def test_a_marker_that_nothing_stands_behind(self, totp_user, committed):
        user, _ = totp_user
        RecoveryCode.objects.all().delete()
        with committed():
            give_password(user)
        assert not rows_of(user).exists()

    def test_a_failure_breaks_no_sign_in(self, user, make_codes, monkeypatch, committed, caplog):
        add_totp(user)
        make_codes(user)

        def fail(user):
            raise DatabaseError("value of a row")

        monkeypatch.setattr(marker, "sync", fail)
        with committed():
            browser = give_password(user)
        assert browser.post(AUTHENTICATE, {"code": totp_now()}).status_code == 302
        assert "marker not set" in caplog.text and "value of a row" not in caplog.text

    def test_a_failure_to_wait_for_the_commit_breaks_no_sign_in(
        self, totp_user, monkeypatch, caplog
    ):
        user, _ = totp_user

        def fail(*args, **kwargs):
            raise transaction.TransactionManagementError("manual transactions")

        monkeypatch.setattr(marker.transaction, "on_commit", fail)
        marker._on_step(None, user=user, method="password")
        assert "TransactionManagementError" in caplog.text

    @pytest.mark.parametrize(("has_totp", "number"), [(False, 1), (True, 2)])
    def test_a_sign_in_where_all_is_well_costs_few_queries(
        self, user, make_codes, make_request, statements, committed, has_totp, number
    ):
        make_codes(user)
        if has_totp:
            add_totp(user)
        marker.sync(user)
        with statements() as seen, committed():
            marker._on_step(None, user=user, method="password")
        assert len(seen) == number and all(sql.startswith("SELECT") for sql in seen)

    def test_the_second_factor_costs_none(self, totp_user, statements, committed):
        user, _ = totp_user
        with statements() as seen, committed():
            marker._on_step(None, user=user, method="mfa")
        assert seen == []


@pytest.mark.django_db(transaction=True)
def test_under_atomic_requests_all_of_it_works(totp_user, before_step, monkeypatch):
    """A failing marker follows the transaction, so it poisons none."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    user, codes = totp_user
    rows_of(user).delete()
    for left, code in zip((2, 1, 0), codes, strict=True):
        browser = before_step(user)
        assert has_marker(user)
        assert browser.post(AUTHENTICATE, {"code": code}).status_code == 302
        assert browser.session["_auth_user_id"] == str(user.pk)
        assert has_marker(user) is (left > 0)


class TestTrust:
    """A browser is trusted until the codes change."""

    @pytest.fixture
    def trusted(self, totp_user, before_step, settings):
        settings.MFA_TRUST_ENABLED = True
        settings.ROOT_URLCONF = __name__
        user, codes = totp_user
        browser = before_step(user)
        page = browser.post(AUTHENTICATE, {"code": codes[0]})["Location"]
        assert browser.post(page, {"action": "trust"}).status_code == 302
        browser.user = user
        return browser

    def is_asked(self, browser):
        browser.post(reverse("account_logout"))
        data = {"login": browser.user.username, "password": PASSWORD}
        return browser.post(reverse("account_login"), data)["Location"] == AUTHENTICATE

    def test_the_same_codes_keep_it(self, trusted):
        marker.sync(trusted.user)
        assert not self.is_asked(trusted)

    def test_new_codes_end_it(self, trusted, make_codes, committed):
        with committed():
            make_codes(trusted.user)
        assert self.is_asked(trusted)

    def test_deleted_codes_end_it(self, trusted, committed):
        with committed():
            RecoveryCodeBatch.objects.get().delete_codes()
            marker.sync(trusted.user)
        assert self.is_asked(trusted)


class TestWithoutUs:
    """What allauth does with a marker when this package has gone: it refuses."""

    def stock(self):
        data = marker.data_of(RecoveryCodeBatch(pk=7))
        return RecoveryCodes(Authenticator(type="recovery_codes", data=data))

    @given(st.text())
    def test_any_text(self, text):
        assert self.stock().validate_code(text) is False

    @given(st.text(alphabet="0123456789", min_size=1, max_size=12))
    def test_any_number(self, number):
        assert self.stock().validate_code(number) is False

    def test_what_the_marker_itself_says(self, totp_user):
        user, codes = totp_user
        row = rows_of(user).get()
        for text in [*codes, *row.data, row.data["seed"], "recovery_backend", "[]", "", "1"]:
            assert RecoveryCodes(row).validate_code(text) is False
        assert RecoveryCodes(row).generate_codes() == RecoveryCodes(row).get_unused_codes() == []

    @pytest.mark.skipif(connection.vendor != "sqlite", reason="copies the database as a file")
    @pytest.mark.django_db(transaction=True)
    def test_a_site_without_this_app_over_the_same_tables(self, totp_user, tmp_path):
        user, codes = totp_user
        copy = tmp_path / "site.sqlite3"
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(copy)])
        done = subprocess.run(
            [sys.executable, "-c", SITE_WITHOUT_US, str(copy), str(user.pk), PASSWORD, *codes],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["asked", *["refused"] * (len(codes) + 2), "totp"]


SITE_WITHOUT_US = """
import sys, time
from django.conf import settings
from tests.with_allauth import settings as ours

place, pk, password, *codes = sys.argv[1:]
names = {name: getattr(ours, name) for name in dir(ours) if name.isupper() and name != "BASE"}
settings.configure(**{
    **names,
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": place}},
    "INSTALLED_APPS": [app for app in ours.INSTALLED_APPS if "recovery_backend" not in app],
    "MIDDLEWARE": [path for path in ours.MIDDLEWARE if "recovery_backend" not in path],
    "AUTHENTICATION_BACKENDS": ["allauth.account.auth_backends.AuthenticationBackend"],
    "ROOT_URLCONF": "allauth.urls",
    "ACCOUNT_RATE_LIMITS": False,
    "LOGIN_REDIRECT_URL": "/email/",
    "MFA_TOTP_INSECURE_BYPASS_CODE": None,
})
import django
django.setup()
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

row = Authenticator.objects.get(user=pk, type="recovery_codes")
assert type(row.wrap()) is RecoveryCodes
client = Client()
user = get_user_model().objects.get(pk=pk)
answer = client.post(reverse("account_login"), {"login": user.username, "password": password})
print("asked" if answer["Location"] == reverse("mfa_authenticate") else answer["Location"])
for code in [*codes, row.data["seed"], "[]"]:
    client.post(reverse("mfa_authenticate"), {"code": code})
    print("in" if "_auth_user_id" in client.session else "refused")
secret = Authenticator.objects.get(user=pk, type="totp").data["secret"]
counter = int(time.time()) // 30
code = totp.format_hotp_value(totp.hotp_value(secret, counter))
client.post(reverse("mfa_authenticate"), {"code": code})
print("totp" if "_auth_user_id" in client.session else "locked out")
"""


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
class TestTogether:
    """Many at once, each on a connection of its own: no error, one row, and the right one."""

    def test_of_ten_that_find_it_missing_one_makes_it(self, totp_user):
        user, _ = totp_user
        for _ in range(5):
            rows_of(user).delete()
            found = together(10, lambda position: marker.sync(user))
            assert {row.pk for row in found} == {rows_of(user).get().pk}

    def test_new_codes_and_sign_ins_at_once_end_with_the_newest(self, totp_user, caplog):
        user, _ = totp_user
        for _ in range(5):

            def work(position):
                if position % 2:
                    return RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=1)
                return marker._look(user.pk)

            together(8, work)
            newest = RecoveryCodeBatch.objects.get(user=user, status="active")
            assert rows_of(user).get().data == marker.data_of(newest)
        assert "marker not set" not in caplog.text

    def test_a_factor_that_goes_meanwhile_leaves_none(self, user, make_codes):
        make_codes(user)
        for _ in range(10):
            totp = add_totp(user)
            together(
                4, lambda position, totp=totp: marker._look(user.pk) if position else totp.delete()
            )
            assert not rows_of(user).exists()
