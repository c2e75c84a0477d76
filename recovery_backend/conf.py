"""Every setting, once: its name, type, default, bounds and meaning.

`conf.PER_PAGE` reads the live value, checked and typed. `checks.py` and `docs/settings.md`
are made from the same table, so a new setting is one row here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recovery_backend.setting_types import (
    Address,
    Audience,
    Choice,
    FileName,
    Flag,
    Key,
    KeyList,
    Number,
    OptionalFlag,
    OptionalText,
    OptionalWhole,
    Paths,
    Rate,
    Setting,
    Text,
    Whole,
    Word,
)

KEYS = "Keys"
SIGN_IN = "Signing in"
COOLDOWN = "Cooldown"
CODES = "Codes"
PAGES = "Pages"
DELIVERY = "Files and e-mails"
ADMIN = "Purge, audit and reports"
ALLAUTH = "With django-allauth"
API = "With the JSON API"
BINDING = ("off", "warn", "step_up", "end")

GROUPS = {
    KEYS: "",
    SIGN_IN: "",
    COOLDOWN: "Generating codes and e-mailing them have a growing wait of their own, each counted "
    "for one user: the same MAX_LOGIN_ATTEMPTS, BASE_COOLDOWN, COOLDOWN_MULTIPLIER and "
    "COOLDOWN_CUTOFF_POINT, with every time done in the place of a failure. The count starts "
    "anew after a day without.",
    CODES: "",
    PAGES: "What the history and the account's activity show is cached for each user, for "
    "CACHE_TTL seconds, but at most CACHE_MAX and at least CACHE_MIN. Where that comes to 0, "
    "nothing is cached. A change made by this package is seen at once, whatever these say.",
    DELIVERY: "",
    ADMIN: "What is removed, when, is said by schedules in the admin; some of these are what a new "
    "schedule begins with. See [Purges and schedules](purge.md).",
    ALLAUTH: "Read where `recovery_backend_allauth` is installed. See [django-allauth](allauth.md).",
    API: "Read where `recovery_backend_api.keys` is installed. See [API keys](api-keys.md).",
}


class Conf:
    """The settings as attributes: `conf.PER_PAGE` is the live, checked value.

    Raises `ImproperlyConfigured` naming the setting and what to write.
    """

    KEY = Key("KEY", "", "The key under which codes are stored. Never SECRET_KEY.", group=KEYS)
    KEY_FALLBACKS = KeyList(
        "KEY_FALLBACKS",
        (),
        "Older keys, read only: their codes still work. Remove one after "
        "`recovery_keys retire` agrees.",
        group=KEYS,
    )
    IMPORTED_KEY = Text(
        "CODES_IMPORTED_KEY",
        "",
        "What DJANGO_AUTH_RECOVERY_KEY was in django-auth-recovery-codes, for codes that were moved "
        "in from there: they work while it is set. It makes no codes, so a weak one is accepted.",
        group=KEYS,
    )

    LOGIN_MODE = Choice(
        "CODES_LOGIN_MODE",
        "sole_login",
        "What a code is worth: a whole sign-in, a second factor after the password, or nothing.",
        group=SIGN_IN,
        choices=("sole_login", "second_factor", "off"),
    )
    SOLE_LOGIN_FOR_STAFF = Flag(
        "CODES_SOLE_LOGIN_FOR_STAFF",
        True,
        "Whether staff and superusers may sign in with e-mail and code alone.",
        group=SIGN_IN,
    )
    NOTIFY = Flag(
        "CODES_NOTIFY",
        True,
        "Tell owners by e-mail when a code is used or their account is attacked, and when codes "
        "are generated, downloaded, e-mailed, invalidated or deleted. These, and the message about "
        "failures: at most five of a kind in an hour. Reminders are sent only while this is on. "
        "The e-mail with the codes themselves is EMAIL_CODES.",
        group=SIGN_IN,
    )
    EMAIL_ASYNC = OptionalFlag(
        "CODES_EMAIL_ASYNC",
        None,
        "Send e-mails, those with codes too, through the django-q2 queue. None: through the queue "
        "unless DEBUG is on.",
        group=SIGN_IN,
    )
    TRUSTED_PROXY_COUNT = Whole(
        "CODES_TRUSTED_PROXY_COUNT",
        0,
        "How many proxies in front of Django write X-Forwarded-For. 0: the header is ignored.",
        group=SIGN_IN,
        minimum=0,
        maximum=10,
    )
    SITE_NAME = Text(
        "CODES_SITE_NAME",
        "",
        "The site's name on pages, in files and in e-mails. Empty: the name from "
        "django.contrib.sites.",
        group=SIGN_IN,
    )

    MAX_LOGIN_ATTEMPTS = Whole(
        "CODES_MAX_LOGIN_ATTEMPTS",
        5,
        "Tries that an account has from one network before each further one has to wait. Also how "
        "often a user may generate codes, or have them e-mailed, before the next time has to wait.",
        group=COOLDOWN,
        minimum=1,
        maximum=100,
    )
    BASE_COOLDOWN = Whole(
        "CODES_BASE_COOLDOWN",
        60,
        "The first wait, in seconds; for generating and e-mailing too.",
        group=COOLDOWN,
        minimum=1,
        maximum=86_400,
    )
    COOLDOWN_MULTIPLIER = Number(
        "CODES_COOLDOWN_MULTIPLIER",
        2,
        "Each further wait is this many times the one before; for generating and e-mailing too.",
        group=COOLDOWN,
        minimum=1,
        maximum=100,
    )
    COOLDOWN_CUTOFF_POINT = Whole(
        "CODES_COOLDOWN_CUTOFF_POINT",
        3600,
        "The longest wait, in seconds; for generating and e-mailing too.",
        group=COOLDOWN,
        minimum=1,
        maximum=604_800,
    )
    HARD_CAP = OptionalWhole(
        "CODES_HARD_CAP",
        "Failures of one account, from anywhere, after which the page is closed to it until a "
        "new batch, an admin, or a sign-in by other means opens it. NIST SP 800-63B-4 asks for "
        "100; the price is that a stranger who knows an address can close the page to its owner.",
        group=COOLDOWN,
        minimum=1,
        maximum=100,
    )
    CLIENT_RATE = Rate(
        "CODES_CLIENT_RATE",
        "60/m",
        "Sign-in requests and set-up tests from one network, for any account; and, counted apart, "
        "changes that one user asks for on the dashboard.",
        group=COOLDOWN,
    )
    AUTH_RATE_LIMITER_USE_CACHE = Flag(
        "CODES_AUTH_RATE_LIMITER_USE_CACHE",
        True,
        "Keep a copy of a running wait in the cache, which spares the database. The row decides.",
        group=COOLDOWN,
    )

    NUMBER_OF_CODES = Whole(
        "CODES_NUMBER_OF_CODES",
        10,
        "Codes in a new batch.",
        group=CODES,
        minimum=1,
        maximum=100,
    )
    LOW_CODES_WARNING = Whole(
        "CODES_LOW_CODES_WARNING",
        3,
        "Warn the owner, on the dashboard and in notices, when this many codes, or fewer, are left.",
        group=CODES,
        minimum=0,
        maximum=100,
    )
    STASH_TTL = Whole(
        "CODES_STASH_TTL",
        900,
        "Seconds for which a session may still show and deliver freshly generated codes, and for "
        "which an e-mail of codes may wait in the queue.",
        group=CODES,
        minimum=60,
        maximum=86_400,
    )
    REAUTH_MAX_AGE = OptionalWhole(
        "CODES_REAUTH_MAX_AGE",
        "Seconds since the sign-in after which generating, downloading, e-mailing, invalidating "
        "and deleting codes ask to sign in again at LOGIN_URL. None: never. With django-allauth, at "
        "its pages of confirmation; who has a second factor proves that again, after 900 s for None.",
        group=CODES,
        minimum=30,
        maximum=86_400,
    )

    REDIRECT_VIEW = Text(
        "CODE_REDIRECT_VIEW",
        "recovery_dashboard",
        "URL name or path to go to after signing in with a code.",
        group=PAGES,
    )
    REDIRECT_VIEW_AFTER_LOGOUT = Text(
        "CODE_REDIRECT_VIEW_AFTER_LOGOUT",
        "login_user",
        "URL name or path to go to after signing out.",
        group=PAGES,
    )
    MAX_VISIBLE = Whole(
        "CODE_MAX_VISIBLE",
        20,
        "Batches that the history on the dashboard shows at most, over all its pages.",
        group=PAGES,
        minimum=1,
        maximum=1000,
    )
    PER_PAGE = Whole(
        "CODE_PER_PAGE",
        5,
        "Batches on a page of the history.",
        group=PAGES,
        minimum=1,
        maximum=100,
    )
    CACHE_TTL = Whole(
        "CODES_CACHE_TTL",
        300,
        "Seconds for which the history and activity of a user stay in the cache.",
        group=PAGES,
        minimum=0,
        maximum=86_400,
    )
    CACHE_MIN = Whole(
        "CODES_CACHE_MIN",
        0,
        "The least that CACHE_TTL may come to, in seconds.",
        group=PAGES,
        minimum=0,
        maximum=86_400,
    )
    CACHE_MAX = Whole(
        "CODES_CACHE_MAX",
        3600,
        "The most that CACHE_TTL may come to, in seconds.",
        group=PAGES,
        minimum=0,
        maximum=86_400,
    )

    DEFAULT_FILE_NAME = FileName(
        "CODES_DEFAULT_FILE_NAME",
        "recovery_codes",
        "Name of a downloaded file, without its ending. Another name is read as the nearest plain "
        "one, with a warning.",
        group=DELIVERY,
    )
    DEFAULT_FORMAT = Choice(
        "CODES_DEFAULT_FORMAT",
        "txt",
        "Format of a download that is chosen at first, and used when a request names none.",
        group=DELIVERY,
        choices=("txt", "csv", "pdf"),
    )
    PDF_FONT = OptionalText(
        "CODES_PDF_FONT",
        None,
        "Path of a TrueType font (.ttf) for PDFs, for names in other scripts than Latin. Without "
        "it, other letters than those of Western Europe are printed as question marks, and the "
        "PDF says so.",
        group=DELIVERY,
    )
    EMAIL_CODES = Flag(
        "CODES_EMAIL_CODES",
        True,
        "Let users have their new codes e-mailed to their account's own address, once for each "
        "batch. False: the dashboard does not offer it, and a request is refused.",
        group=DELIVERY,
    )
    STORE_EMAIL_LOG = Flag(
        "CODE_STORE_EMAIL_LOG",
        False,
        "Keep a row of RecoveryCodeEmailLog for each e-mail of codes: to whom and whether it left, "
        "never the codes.",
        group=DELIVERY,
    )
    EMAIL_SENDER_LOGGING = Flag(
        "CODES_EMAIL_SENDER_LOGGING",
        False,
        "Log each e-mail that is sent, by the user's primary key.",
        group=DELIVERY,
    )

    ADMIN_EMAIL = Address(
        "CODE_ADMIN_EMAIL",
        "",
        "Who gets the reports of scheduled runs, and alerts. Empty: nobody.",
        group=ADMIN,
    )
    ADMIN_EMAIL_HOST_USER = Address(
        "CODE_ADMIN_EMAIL_HOST_USER",
        "",
        "The sender of reports and alerts. Empty: DEFAULT_FROM_EMAIL.",
        group=ADMIN,
    )
    ADMIN_USERNAME = Text(
        "CODE_ADMIN_USERNAME", "", "The name in a report's greeting.", group=ADMIN
    )
    AUDIT_ENABLE_AUTO_CLEANUP = Flag(
        "CODE_AUDIT_ENABLE_AUTO_CLEANUP",
        False,
        "Let every purge of codes, by schedule or by command, also remove audit rows older than "
        "AUDIT_RETENTION_DAYS. Without it, an audit purge schedule does.",
        group=ADMIN,
    )
    AUDIT_CHAIN = Flag(
        "CODES_AUDIT_CHAIN",
        False,
        "Seal the audit with every scheduled run, so that `recovery_audit --verify` finds rows "
        "that were altered, removed or reordered since.",
        group=ADMIN,
    )
    AUDIT_RETENTION_DAYS = Whole(
        "CODE_AUDIT_RETENTION_DAYS",
        90,
        "Days for which audit rows are kept; what a new audit purge schedule begins with.",
        group=ADMIN,
        minimum=1,
        maximum=3650,
    )
    PURGE_DELETE_RETENTION_DAYS = Whole(
        "CODE_PURGE_DELETE_RETENTION_DAYS",
        30,
        "Days for which a used, invalidated, deleted or expired code, or an ended API key, is kept, "
        "counted from that moment; what a new code purge schedule begins with.",
        group=ADMIN,
        minimum=0,
        maximum=3650,
    )
    PURGE_DELETE_SCHEDULER_USE_LOGGER = Flag(
        "CODE_PURGE_DELETE_SCHEDULER_USE_LOGGER",
        True,
        "Whether a new schedule logs each of its runs.",
        group=ADMIN,
    )
    BATCH_DELETE_SIZE = Whole(
        "CODES_BATCH_DELETE_SIZE",
        1000,
        "Rows that a purge removes in one transaction.",
        group=ADMIN,
        minimum=1,
        maximum=100_000,
    )
    MAX_DELETIONS_PER_RUN = Whole(
        "CODES_MAX_DELETIONS_PER_RUN",
        -1,
        "Rows that one run of a purge removes at most. -1: no limit.",
        group=ADMIN,
        minimum=-1,
        maximum=1_000_000_000,
    )

    CODE_SATISFIES_MFA = Flag(
        "CODES_CODE_SATISFIES_MFA",
        True,
        "Whether signing in with e-mail address and code skips the second step of users who have a "
        "second factor. False: they are asked for it, and another code is not enough there.",
        group=ALLAUTH,
    )
    RECOVERY_SESSION = Choice(
        "CODES_RECOVERY_SESSION",
        "full",
        "What a session may do that a user with a second factor began with e-mail address and code "
        "alone. restricted: only repair the factors, until one was added or used.",
        group=ALLAUTH,
        choices=("full", "restricted"),
    )
    RESTRICTED_SESSION_AGE = Whole(
        "CODES_RESTRICTED_SESSION_AGE",
        3600,
        "Seconds after which a restricted session ends.",
        group=ALLAUTH,
        minimum=300,
        maximum=86_400,
    )
    MFA_REQUIRED_PATHS = Paths(
        "CODES_MFA_REQUIRED_PATHS",
        (),
        "Paths, with all below them, for which MFARequiredMiddleware asks for a second factor.",
        group=ALLAUTH,
    )
    MFA_REQUIRED_FOR = Audience(
        "CODES_MFA_REQUIRED_FOR",
        "everyone",
        "Of whom MFA_REQUIRED_PATHS asks it.",
        group=ALLAUTH,
    )
    MFA_BIND_BROWSER = Choice(
        "CODES_MFA_BIND_BROWSER",
        "off",
        "What happens to a session with a second factor that is seen in another browser: nothing, a "
        "warning to audit and owner, the second factor again, or its end. A newer version of the same "
        "browser is no other.",
        group=ALLAUTH,
        choices=BINDING,
    )
    MFA_BIND_NETWORK = Choice(
        "CODES_MFA_BIND_NETWORK",
        "off",
        "The same for another network. A phone changes it many times a day.",
        group=ALLAUTH,
        choices=BINDING,
    )
    ADOPT_ALLAUTH_CODES = Flag(
        "CODES_ADOPT_ALLAUTH_CODES",
        False,
        "Take over the recovery codes that allauth itself generates, as soon as it has. False: "
        "these are the only recovery codes, and MFA_SUPPORTED_TYPES must not name allauth's.",
        group=ALLAUTH,
    )

    API_KEYS_ENABLED = Flag(
        "CODES_API_KEYS_ENABLED",
        False,
        "Whether users may make API keys, and requests may come with one. False: every key is "
        "refused, none is made, and the admin does not show them.",
        group=API,
    )
    API_KEY_MAX_DAYS = Whole(
        "CODES_API_KEY_MAX_DAYS",
        365,
        "Days after which a new key expires at the latest.",
        group=API,
        minimum=1,
        maximum=3650,
    )
    API_KEY_ALLOW_NO_EXPIRY = Flag(
        "CODES_API_KEY_ALLOW_NO_EXPIRY",
        False,
        "Whether a key may be made that never expires, whatever API_KEY_MAX_DAYS says.",
        group=API,
    )
    API_KEY_SCHEME = Word(
        "CODES_API_KEY_SCHEME",
        "Api-Key",
        "The word before the key in the Authorization header; capitals make no difference.",
        group=API,
    )
    API_KEY_PREFIX = Word(
        "CODES_API_KEY_PREFIX",
        "rbk",
        "What new keys begin with, so that people and secret scanners know them. Older keys "
        "go on working.",
        group=API,
    )


conf = Conf()


def table() -> Iterator[Setting[Any]]:
    """Every setting, in the order in which it is documented."""
    return (row for row in vars(Conf).values() if isinstance(row, Setting))
