"""Two real `qcluster`s on one PostgreSQL: once each period, and killed workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from django.db import connection

from tests.test_servers import PROMPT_SECONDS, ROOT, wait_for

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        connection.vendor != "postgresql",
        reason="SQLite has one writer: several clusters need a database server",
    ),
]

NAMES = ("first", "second")
TABLES = ("cleanup", "audit", "reminder")
EACH_KIND = {"cleanup": 10, "audit": 6, "reminder": 4}
NUMBER = sum(EACH_KIND.values())
OLD, LIVE, BATCHES = 4_000, 100, 40
TROUBLE = re.compile(r"ERROR|CRITICAL|Traceback|Exception|deadlock")

MAKE_SCHEDULES = f"""
from django.utils import timezone
from recovery_backend.schedules import SCHEDULERS
for rows, number in zip(SCHEDULERS.values(), {tuple(EACH_KIND.values())}):
    for position in range(number):
        rows.objects.create(name=f"{{rows.kind}} {{position}}", run_at=timezone.now())
"""
MAKE_CODES = f"""
import uuid
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
user = User.objects.create(username="ada", email="ada@example.com")
batches = RecoveryCodeBatch.objects.bulk_create(
    RecoveryCodeBatch(user=user, number_issued={OLD // BATCHES}, status="superseded")
    for _ in range({BATCHES})
)
then = timezone.now() - timedelta(days=99)
RecoveryCode.objects.bulk_create(
    RecoveryCode(
        batch=batches[number % {BATCHES}], user=user, digest=uuid.uuid4(), bind=b"", key_id="k",
        status="used", retired_at=then if number < {OLD} else timezone.now(),
    )
    for number in range({OLD + LIVE})
)
"""
RUN_NOW = """
from recovery_backend.models import RecoveryCodeCleanUpScheduler
from recovery_backend import runs
assert runs.request_run(RecoveryCodeCleanUpScheduler.objects.get(name="codes 0"))
"""


class Clusters:
    """Worker processes, and the database that they share."""

    def __init__(self, database, folder):
        self.database = database
        self.folder = folder
        self.processes = {}
        self.environment = {
            **os.environ,
            "TEST_CLUSTER_DATABASE": database.info.dbname,
            "DJANGO_SETTINGS_MODULE": "tests.users.cluster_settings",
            "PYTHONUNBUFFERED": "1",
        }

    def manage(self, *arguments):
        command = [sys.executable, "-m", "django", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        for name in NAMES:
            with self.log(name).open("wb") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "django", "qcluster"],
                    cwd=ROOT,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        wait_for(lambda: all("running." in self.log(name).read_text() for name in NAMES))

    def log(self, name):
        return self.folder / f"{name}.log"

    def said(self):
        return "\n".join(self.log(name).read_text() for name in NAMES)

    def busy_worker(self):
        """The process that is in the middle of a task."""
        said = self.said()
        processed = set(re.findall(r"Processed '.*' \((\S+)\)", said))
        begun = re.findall(r"(\S+) processing (\S+) ", said)
        (worker,) = (worker for worker, task in begun if task not in processed)
        return int(re.search(rf"{worker} ready for work at (\d+)", said)[1])

    def stop(self):
        """SIGTERM to the parents, and then to whatever is left SIGKILL."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        try:
            for process in self.processes.values():
                process.wait(PROMPT_SECONDS)
        finally:
            for process in self.processes.values():
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def execute(self, statement, *values):
        return self.database.execute(statement, values)

    def value(self, statement):
        return self.execute(statement).fetchone()[0]

    def finished(self):
        """How often each schedule has run to its end."""
        rows = self.execute(
            "SELECT policy_name FROM recovery_backend_recoverycodepurgehistory "
            "WHERE finished_at IS NOT NULL AND error = ''"
        )
        return Counter(name for (name,) in rows)

    def is_idle(self, period=1):
        """Whether so many runs of each are over, and the queue is empty."""
        is_empty = self.value("SELECT count(*) FROM django_q_ormq") == 0
        return is_empty and sum(self.finished().values()) >= period * NUMBER

    def number_of_codes(self):
        return self.value("SELECT count(*) FROM recovery_backend_recoverycode")

    def number_at_rest(self):
        """The number of codes, once the server has done what a killed worker had asked for."""
        last, number = None, self.number_of_codes()
        while number != last:
            time.sleep(0.5)
            last, number = number, self.number_of_codes()
        return number


def connect(name):
    import psycopg

    settings = connection.settings_dict
    login = {"host": settings["HOST"], "user": settings["USER"], "password": settings["PASSWORD"]}
    return psycopg.connect(dbname=name, autocommit=True, **login)


@pytest.fixture(scope="module")
def clusters(tmp_path_factory):
    """Two clusters that were started when all schedules were due, and have run them."""
    name = f"recovery_backend_clusters_{os.getpid()}"
    with connect("postgres") as server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            with connect(name) as database:
                clusters = Clusters(database, tmp_path_factory.mktemp("clusters"))
                clusters.manage("migrate", "--verbosity", "0")
                clusters.manage("shell", "-c", MAKE_SCHEDULES)
                try:
                    clusters.start()
                    wait_for(clusters.is_idle)
                    yield clusters
                finally:
                    clusters.stop()
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_two_clusters_run_each_schedule_once_a_period(clusters):
    """R-109: whoever of them is first, and without one error."""
    assert set(clusters.finished().values()) == {1}
    due = "SET next_run = now() - interval '1 second'"
    for table in TABLES:
        clusters.execute(f"UPDATE recovery_backend_recoverycode{table}scheduler {due}")  # noqa: S608
    clusters.execute(f"UPDATE django_q_schedule {due}")  # noqa: S608
    wait_for(lambda: clusters.is_idle(period=2))
    finished = clusters.finished()
    assert len(finished) == NUMBER and set(finished.values()) == {2}
    assert clusters.said().count("created task") == 2 * NUMBER
    assert not TROUBLE.search(clusters.said()), clusters.said()
    later = "SELECT count(*) FROM django_q_schedule WHERE next_run > now() + interval '1 hour'"
    assert clusters.value(later) == NUMBER


def test_a_purge_whose_worker_is_killed_goes_on(clusters):
    """R-109, R-111: every old code goes once, is counted once, and no other."""
    clusters.manage("shell", "-c", MAKE_CODES)
    finished = clusters.finished()["codes 0"]
    clusters.manage("shell", "-c", RUN_NOW)
    wait_for(lambda: clusters.number_of_codes() < OLD + LIVE - 100)
    os.kill(clusters.busy_worker(), signal.SIGKILL)
    left = clusters.number_at_rest()
    assert LIVE < left < OLD + LIVE
    assert clusters.finished()["codes 0"] == finished
    # Time passes: the lease ends, and the queue repeats what nobody has acknowledged.
    clusters.execute(
        "UPDATE recovery_backend_recoverycodecleanupscheduler SET lease_until = now() "
        "WHERE lease_until IS NOT NULL"
    )
    clusters.execute("UPDATE django_q_ormq SET lock = now()")
    wait_for(lambda: clusters.finished()["codes 0"] == finished + 1)
    assert clusters.number_of_codes() == LIVE
    batches = "SELECT sum(purged_used), max(purged_used) FROM recovery_backend_recoverycodebatch"
    assert clusters.execute(batches).fetchone() == (OLD, OLD // BATCHES)
    ((removed, has_more),) = clusters.execute(
        "SELECT codes_removed, has_more FROM recovery_backend_recoverycodepurgehistory "
        "ORDER BY id DESC LIMIT 1"
    )
    # What the killed one did in its last second is not in the record.
    assert left - LIVE <= removed <= OLD and not has_more
