"""A purge that is killed: real processes, SIGKILL, and what the next run finds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.db import connection

from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.purge import purge_codes
from tests.purge.conftest import DAY, add_batch
from tests.test_purge_races import assert_every_code_is_counted, until_nothing_is_left

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).parent.parent

# Stops at one moment of a purge, says so, and waits to be killed.
CHILD = """
import sys
import django
django.setup()
from django.db import connection
connection.settings_dict["NAME"] = sys.argv[1]
from recovery_backend.purge import purge_codes

moment, pages = sys.argv[2], []

def wait():
    print("here", flush=True)
    sys.stdin.read()

def watch(execute, sql, params, many, context):
    result = execute(sql, params, many, context)
    if len(pages) >= 5 and moment in sql.replace("`", '"'):
        wait()
    return result

def on_page(done):
    pages.append(done)
    if moment == "between pages" and len(pages) == 5:
        wait()

with connection.execute_wrapper(watch):
    purge_codes(30, batch_size=10, delete_empty_batches=True, on_page=on_page)
print("finished", flush=True)
"""

MOMENTS = {
    "between pages": "between pages",
    "after finding them": "is_last_change",
    "after deleting them": 'DELETE FROM "recovery_backend_recoverycode"',
    "after counting them": 'SET "purged_used"',
    "after deleting batches": 'DELETE FROM "recovery_backend_recoverycodebatch"',
}
if connection.vendor == "postgresql":  # which does the middle ones in one statement
    del MOMENTS["after finding them"], MOMENTS["after counting them"]


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=list(MOMENTS))
def test_a_killed_purge_leaves_whole_pages_and_is_resumed(make_user, try_code, moment):
    """R-109: SIGKILL at any moment; nothing is half done, and the next run goes on."""
    user = make_user()
    (code,), live = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=1)
    for _number in range(20):
        add_batch(user, *[("used", 31 * DAY)] * 6)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    name = str(connection.settings_dict["NAME"])
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, name, moment],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout.readline() == "here\n"
        finally:
            child.kill()
    assert_every_code_is_counted()
    left = RecoveryCode.objects.filter(status="used").count()
    assert left % 10 == 0 and left < 120
    until_nothing_is_left()
    end = time.monotonic() + 60
    while RecoveryCodeBatch.objects.count() > 1:
        assert time.monotonic() < end
        purge_codes(30, delete_empty_batches=True)
    assert RecoveryCodeBatch.objects.get() == live
    assert try_code(user.email, code) == user
