"""System checks: each names what is wrong, why it matters, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission, PermissionsMixin
from django.core.checks import ERROR, CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.db.models import Count
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from recovery_backend import codes, exports, keys, tasks
from recovery_backend.conf import Conf, conf, table
from recovery_backend.flows.entry import BACKEND_PATH
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodePurgeHistory,
)
from recovery_backend.schedules import SCHEDULERS, RunKind, queue
from recovery_backend.setting_types import PREFIX, key_problem

MIDDLEWARE_PATH = "recovery_backend.middleware.RecoveryCodeMiddleware"
MESSAGE_MIDDLEWARE = "django.contrib.messages.middleware.MessageMiddleware"
AUTHENTICATION_MIDDLEWARE = "django.contrib.auth.middleware.AuthenticationMiddleware"
API_KEYS = "recovery_backend_api.keys"
# ASVS 6.5.2 allows a fast hash above 112 bits; the format promises more than that.
LEAST_ENTROPY_BITS = 200
LEAST_AUDIT_DAYS = 90
LONGEST_PERIOD = timedelta(days=31)
SCHEDULE_PERMISSIONS = ("add_schedule", "change_schedule")


def _error(number: int, text: str, hint: str) -> Error:
    return Error(text, hint=hint, id=f"recovery_backend.E{number:03}")


def _warning(number: int, text: str, hint: str) -> Warning:
    return Warning(text, hint=hint, id=f"recovery_backend.W{number:03}")


def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E001, W001, W002: every setting against its row of the table; unknown names (R-147)."""
    messages: list[CheckMessage] = []
    rows = {row.name: row for row in table()}
    for row in rows.values():
        if row.name in {Conf.__dict__["KEY"].name, Conf.__dict__["KEY_FALLBACKS"].name}:
            continue
        if problem := row.problem(row.configured()):
            make, number = (_error, 1) if problem.is_fatal else (_warning, 1)
            hint = f"{row.help} {row.bounds}".strip()
            messages.append(make(number, f"{row.name} {problem.text}", hint))
    for name in dir(settings):
        if name.startswith(PREFIX) and name not in rows:
            messages.append(
                _warning(
                    2, f"{name} is not a setting of recovery_backend.", _suggestion(name, rows)
                )
            )
    return messages


def _suggestion(name: str, rows: Any) -> str:
    import difflib

    close = difflib.get_close_matches(name, rows, n=1)
    return f"Did you mean {close[0]}?" if close else "Remove it; docs/settings.md lists them all."


def check_keys(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E002, E003: keys that are missing, short, placeholders, or SECRET_KEY (R-11, R-18)."""
    messages: list[CheckMessage] = []
    key, fallbacks = Conf.__dict__["KEY"], Conf.__dict__["KEY_FALLBACKS"]
    if problem := key_problem(key.configured()):
        messages.append(_error(2, f"{key.name} {problem.text}", key.help))
    if problem := fallbacks.problem(fallbacks.configured()):
        messages.append(_error(3, f"{fallbacks.name} {problem.text}", fallbacks.help))
    return messages


def check_codes(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E004: the entropy of a code, computed from its real alphabet and length (R-02)."""
    bits = codes.entropy_bits(codes.ALPHABET, codes.LENGTH)
    if bits >= LEAST_ENTROPY_BITS:
        return []
    text = f"A recovery code has {bits:.0f} bits of entropy; {LEAST_ENTROPY_BITS} are the least."
    return [_error(4, text, "Use a longer code or a larger alphabet.")]


def check_wiring(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Backend, middleware, sessions, queue and URLs: whether the parts are connected."""
    return [
        *_backend_messages(),
        *_middleware_messages(),
        *_session_messages(),
        *_cache_messages(),
        *_queue_messages(),
        *_page_messages(),
        *_url_messages(),
        *_user_messages(),
        *_api_key_messages(),
        *_relation_messages(),
    ]


def _backend_messages() -> Iterator[CheckMessage]:
    if _login_mode() == "sole_login" and BACKEND_PATH not in settings.AUTHENTICATION_BACKENDS:
        yield _warning(
            3,
            "The recovery code backend is not listed, so no code can sign anybody in.",
            f'Add "{BACKEND_PATH}" to AUTHENTICATION_BACKENDS.',
        )


def _middleware_messages() -> Iterator[CheckMessage]:
    installed = list(settings.MIDDLEWARE)
    if MIDDLEWARE_PATH not in installed:
        yield _warning(
            4,
            "RecoveryCodeMiddleware is not installed; cooldowns still hold, but answer later.",
            f'Add "{MIDDLEWARE_PATH}" to MIDDLEWARE.',
        )
    elif AUTHENTICATION_MIDDLEWARE not in installed[: installed.index(MIDDLEWARE_PATH)]:
        yield _error(
            5,
            "RecoveryCodeMiddleware must come after AuthenticationMiddleware.",
            f'Move "{MIDDLEWARE_PATH}" below "{AUTHENTICATION_MIDDLEWARE}".',
        )


def _session_messages() -> Iterator[CheckMessage]:
    engine = settings.SESSION_ENGINE
    if engine == "django.contrib.sessions.backends.signed_cookies":
        yield _error(
            6,
            "Sessions in signed cookies cannot be ended, and what they hold can be read.",
            'Set SESSION_ENGINE to "django.contrib.sessions.backends.db" (R-73).',
        )
    elif engine == "django.contrib.sessions.backends.cache":
        yield _warning(
            5,
            "Sessions live in the cache only; a flush signs everybody out.",
            'Set SESSION_ENGINE to "django.contrib.sessions.backends.cached_db".',
        )


def _is_cache_local() -> bool:
    backend = settings.CACHES.get("default", {}).get("BACKEND", "")
    return str(backend).rpartition(".")[2] in {"LocMemCache", "DummyCache"}


def _cache_messages() -> Iterator[CheckMessage]:
    if _is_cache_local() and not settings.DEBUG:
        yield _warning(
            6,
            "The default cache is not shared: each process counts CLIENT_RATE for itself.",
            "Use Redis or Memcached in CACHES. Cooldowns hold anyway; they are rows (R-60).",
        )


def _queue_messages() -> Iterator[CheckMessage]:
    if not apps.is_installed("django_q"):
        yield _warning(
            7,
            "django_q is not installed, so e-mails are sent while the person waits.",
            'Add "django_q" to INSTALLED_APPS and run `manage.py qcluster`.',
        )
    elif not getattr(settings, "Q_CLUSTER", None):
        yield _warning(
            11,
            "Q_CLUSTER is not set, so django-q2 looks for its queue on a Redis server of this host.",
            'Set Q_CLUSTER = {"name": "site", "orm": "default", "timeout": 60, "retry": 120, '
            '"max_attempts": 3} to keep the queue in the database.',
        )


def _page_messages() -> Iterator[CheckMessage]:
    if MESSAGE_MIDDLEWARE not in settings.MIDDLEWARE:
        yield _warning(
            12,
            "django.contrib.messages is not in use, so the dashboard cannot say what it has done.",
            f'Add "django.contrib.messages" to INSTALLED_APPS and "{MESSAGE_MIDDLEWARE}" to '
            "MIDDLEWARE.",
        )
    font = Conf.__dict__["PDF_FONT"].configured()
    if isinstance(font, str) and not exports.is_font(font):
        yield _warning(
            13,
            "PDF_FONT cannot be read, so PDFs write names in other scripts as question marks.",
            "The path of a TrueType font (.ttf) that the server may read.",
        )


def _url_messages() -> Iterator[CheckMessage]:
    for row in (Conf.__dict__["REDIRECT_VIEW"], Conf.__dict__["REDIRECT_VIEW_AFTER_LOGOUT"]):
        target = row.configured()
        if row.problem(target) or "/" in target or "." in target:
            continue
        try:
            reverse(target)
        except (ImportError, ImproperlyConfigured, AttributeError):
            return  # Django's own checks say what is wrong with the URLconf
        except NoReverseMatch:
            yield _warning(
                8,
                f'{row.name} is "{target}", which is no URL name of this project.',
                'Add path("", include("recovery_backend.urls")) to the URLconf, '
                "or name a view or a path that exists.",
            )


def _user_messages() -> Iterator[CheckMessage]:
    user_model = get_user_model()
    field = user_model.get_email_field_name()
    if field not in {part.name for part in user_model._meta.get_fields()}:
        yield _error(
            7,
            f'The user model has no field "{field}", so no owner can be told by e-mail address.',
            "Set EMAIL_FIELD on the user model to the name of its e-mail field.",
        )


def _api_key_messages() -> Iterator[CheckMessage]:
    if Conf.__dict__["API_KEYS_ENABLED"].configured() is True and not apps.is_installed(API_KEYS):
        yield _warning(
            15,
            "API_KEYS_ENABLED is on, and this site has no API keys: their app is not installed.",
            f'Add "{API_KEYS}" to INSTALLED_APPS and run `manage.py migrate`, or leave the '
            "setting out.",
        )


def _relation_messages() -> Iterator[CheckMessage]:
    limits = {row.name.removeprefix(PREFIX): row.configured() for row in table()}
    if _larger(limits["CODES_BASE_COOLDOWN"], limits["CODES_COOLDOWN_CUTOFF_POINT"]):
        yield _warning(
            9,
            "BASE_COOLDOWN is longer than COOLDOWN_CUTOFF_POINT, which is the longest wait.",
            "Raise COOLDOWN_CUTOFF_POINT or lower BASE_COOLDOWN.",
        )
    if _larger(limits["CODES_CACHE_MIN"], limits["CODES_CACHE_MAX"]):
        yield _warning(10, "CACHE_MIN is larger than CACHE_MAX.", "Swap the two.")


def _larger(left: object, right: object) -> bool:
    return isinstance(left, int) and isinstance(right, int) and left > right


def _login_mode() -> object:
    return Conf.__dict__["LOGIN_MODE"].configured()


def check_posture(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """`check --deploy`: the trade-offs that a site should have chosen, not inherited (R-145)."""
    if any(message.level >= ERROR for message in check_settings(app_configs)):
        return []  # E001 says what to correct first
    return [*_login_posture(), *_limit_posture(), *_service_posture()]


def _login_posture() -> Iterator[CheckMessage]:
    if _login_mode() != "sole_login":
        return
    yield _warning(
        20,
        "E-mail and code alone are a whole sign-in: one factor (NIST SP 800-63B-4 AAL1).",
        'Set DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "second_factor" to ask for the password too.',
    )
    if conf.SOLE_LOGIN_FOR_STAFF:
        yield _warning(
            21,
            "Staff and superusers may sign in with e-mail and code alone.",
            "Set DJANGO_AUTH_RECOVERY_CODES_SOLE_LOGIN_FOR_STAFF = False.",
        )
    if conf.EMAIL_CODES:
        yield _warning(
            22,
            "Codes may be e-mailed, and e-mail and code are a whole sign-in: whoever reads the "
            "mailbox has the account.",
            "Set DJANGO_AUTH_RECOVERY_CODES_EMAIL_CODES = False.",
        )


def _limit_posture() -> Iterator[CheckMessage]:
    if conf.HARD_CAP is None:
        yield _warning(
            23,
            "HARD_CAP is None: failures of an account slow its attackers, alert its owner, and "
            "close nothing. NIST SP 800-63B-4 3.2.2 asks for a cap of 100; with it, a stranger "
            "who knows an address can close the page to its owner.",
            "Set DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = 100, or silence this with that in mind.",
        )
    if conf.AUDIT_RETENTION_DAYS < LEAST_AUDIT_DAYS:
        yield _warning(
            24,
            f"Audit rows are kept for less than {LEAST_AUDIT_DAYS} days.",
            "Raise DJANGO_AUTH_RECOVERY_CODE_AUDIT_RETENTION_DAYS.",
        )


def _service_posture() -> Iterator[CheckMessage]:
    if _is_cache_local():
        yield _error(
            8,
            "The default cache is not shared: each process counts CLIENT_RATE for itself.",
            "Use Redis or Memcached in CACHES (R-60).",
        )
    if not tasks.is_queued():
        yield _warning(
            26,
            "E-mails are sent while the person waits. At the 10th, 100th ... failure that takes "
            "longer for an address that somebody has.",
            "Install django_q, run `manage.py qcluster`, and leave EMAIL_ASYNC at None or True.",
        )
    if _is_behind_proxy() and conf.TRUSTED_PROXY_COUNT == 0:
        yield _warning(
            27,
            "The project is behind a proxy and TRUSTED_PROXY_COUNT is 0: all visitors are one "
            "network, and anybody can make everybody wait.",
            "Set DJANGO_AUTH_RECOVERY_CODES_TRUSTED_PROXY_COUNT to the number of your proxies.",
        )
    cluster = getattr(settings, "Q_CLUSTER", None)
    limits = cluster if isinstance(cluster, dict) else {}
    retry, timeout = limits.get("retry", 60), limits.get("timeout") or 0
    if isinstance(retry, int) and isinstance(timeout, int) and retry <= timeout:
        yield _warning(
            25,
            "Q_CLUSTER retries a task before its timeout, so tasks run twice.",
            'Set Q_CLUSTER["retry"] well above Q_CLUSTER["timeout"].',
        )


def _is_behind_proxy() -> bool:
    return bool(settings.SECURE_PROXY_SSL_HEADER or settings.USE_X_FORWARDED_HOST)


def check_stored_keys(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W030, W035: live codes whose key is not configured, and how many (`check --database`)."""
    if not databases or check_keys(app_configs):
        return []
    known = [key.id for key in keys.keyring()]
    try:
        lost = list(
            RecoveryCode.objects.usable()
            .exclude(key_id__in=known)
            .values("key_id")
            .annotate(number=Count("pk"))
        )
        moved_in = 0 if conf.IMPORTED_KEY else RecoveryCode.objects.usable().imported().count()
    except DatabaseError:  # before the first migrate
        return []
    return [*_imported_messages(moved_in), *_lost_messages(lost)]


def _imported_messages(number: int) -> list[CheckMessage]:
    if not number:
        return []
    text = (
        f"{number} usable codes of django-auth-recovery-codes work under its key only: they rest."
    )
    hint = (
        "Set DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY to what DJANGO_AUTH_RECOVERY_KEY was there."
    )
    return [_warning(35, text, hint)]


def _lost_messages(lost: Iterable[Mapping[str, Any]]) -> list[CheckMessage]:
    return [
        _warning(
            30,
            f"{row['number']} usable codes were made with key {row['key_id']}, which is not "
            "configured: they cannot be used.",
            "Put the key back into DJANGO_AUTH_RECOVERY_KEY_FALLBACKS, or run "
            f"`manage.py recovery_keys retire {row['key_id']} --force`.",
        )
        for row in lost
    ]


def check_schedules(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W014, W031 to W034: what keeps schedules from running, or their reports from being read."""
    if not databases or any(it.level >= ERROR for it in check_settings(app_configs)):
        return []
    try:
        return [
            *_queue_problem_messages(),
            *_schedule_permission_messages(),
            *_cleanup_messages(),
            *_report_messages(),
        ]
    except DatabaseError:  # before the first migrate
        return []


def _queue_problem_messages() -> Iterator[CheckMessage]:
    for problem in queue.problems():
        if problem.what == "malformed":
            hint = "Correct or delete it: until then django-q2 runs no schedule of any app."
            yield _warning(31, problem.text, hint)
        else:
            hint = "See docs/schedules.md, Health."
            yield _warning(32, problem.text, hint)


def _schedule_permission_messages() -> Iterator[CheckMessage]:
    names = {"content_type__app_label": "django_q", "codename__in": SCHEDULE_PERMISSIONS}
    if not _is_queue_in_admin():
        return
    permissions = Permission.objects.filter(**names)
    people = get_user_model()._base_manager.filter(is_active=True, is_superuser=False)
    held = Group.objects.filter(permissions__in=permissions).exists()
    if not held and issubclass(get_user_model(), PermissionsMixin):
        held = people.filter(user_permissions__in=permissions).exists()
    if held:
        yield _warning(
            33,
            "Others than superusers may edit django-q2's schedules, and a schedule runs any "
            "function with the rights of the worker.",
            "Take add_schedule and change_schedule of django_q away from groups and users; "
            "schedules of recovery codes have permissions of their own.",
        )


def _is_queue_in_admin() -> bool:
    if not (apps.is_installed("django_q") and apps.is_installed("django.contrib.admin")):
        return False
    from django.contrib.admin.sites import all_sites
    from django_q.models import Schedule

    return any(site.is_registered(Schedule) for site in all_sites)


def _cleanup_messages() -> Iterator[CheckMessage]:
    if not conf.AUDIT_ENABLE_AUTO_CLEANUP:
        return
    runs = RecoveryCodePurgeHistory.objects.filter(kind=RunKind.CODES)
    is_run = runs.filter(started_at__gt=timezone.now() - LONGEST_PERIOD).exists()
    if not is_run and not RecoveryCodeCleanUpScheduler.objects.filter(is_enabled=True).exists():
        yield _warning(
            34,
            "AUDIT_ENABLE_AUTO_CLEANUP has every purge of codes clean the audit too, and nothing "
            "purges codes.",
            "Add a code purge schedule in the admin, or run `manage.py purge_recovery_codes` "
            "by cron.",
        )


def _report_messages() -> Iterator[CheckMessage]:
    wanted = (model._default_manager.filter(is_enabled=True) for model in SCHEDULERS.values())
    if not conf.ADMIN_EMAIL and any(rows.filter(sends_report=True).exists() for rows in wanted):
        yield _warning(
            14,
            "Schedules are to report by e-mail, and ADMIN_EMAIL is empty: nobody is told.",
            "Set DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL, or turn the reports off.",
        )


CHECKS = (check_settings, check_keys, check_codes, check_wiring)
DEPLOY_CHECKS = (check_posture,)
DATABASE_CHECKS = (check_stored_keys, check_schedules)
