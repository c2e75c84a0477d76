"""A project whose worker processes are real: the queue in a PostgreSQL database of its own."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES as SERVERS

# Workers are forked, and a pool of connections is not made for that.
DATABASES = {
    "default": {**SERVERS["default"], "NAME": os.environ["TEST_CLUSTER_DATABASE"], "OPTIONS": {}}
}
# django-q2 looks for what is due once it starts, and whenever 30 seconds of guarding are over.
Q_CLUSTER = {
    **{"name": "clusters", "orm": "default", "workers": 2, "catch_up": False},
    **{"timeout": 60, "retry": 90, "max_attempts": 3, "guard_cycle": 30},
}
DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE = 10
