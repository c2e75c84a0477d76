"""`python -m tests`: everything on SQLite, then what is marked `services` on the real services.

REQUIRE_SERVICES=1 turns a service that does not answer into an error.
`--allauth 65.19.3` runs only what depends on the version of allauth, which must be this one.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

IS_REQUIRED = os.environ.get("REQUIRE_SERVICES") == "1"
PYTEST = [sys.executable, "-m", "pytest", "--quiet"]
WITH_ALLAUTH = ["--ds", "tests.with_allauth.settings", "tests/with_allauth"]
WITH_API = ["--ds", "tests.with_api.settings", "tests/with_api"]
WITH_API_ALONE = ["--ds", "tests.with_api.plain_settings", "tests/with_api"]
PARALLEL = ["-n", "2", "--dist", "worksteal"]


def answers(port: int, host_variable: str) -> bool:
    host = os.environ.get(host_variable, "127.0.0.1")
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def has_mariadb_driver() -> bool:
    code = "import MySQLdb"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def missing() -> dict[str, str]:
    """What cannot be tested here, and why."""
    found = {}
    if not answers(5432, "TEST_POSTGRESQL_HOST"):
        found["postgresql"] = "no server on port 5432"
    if not answers(6379, "TEST_REDIS_HOST"):
        found["redis"] = "no server on port 6379"
    if not answers(3306, "TEST_MARIADB_HOST"):
        found["mariadb"] = "no server on port 3306"
    elif not has_mariadb_driver():
        found["mariadb"] = "mysqlclient is not installed (dependency group mariadb)"
    return found


def on_service(database: str, *, with_redis: bool) -> int:
    """What is marked `services`, of the core and of both integrations: the exit code."""
    environment = {**os.environ, "TEST_DATABASE": database, "TEST_REDIS": str(int(with_redis))}
    code = 0
    for suite in ([], WITH_ALLAUTH, WITH_API):
        command = [*PYTEST, "-m", "services", "--create-db", *suite]
        code = subprocess.run(command, env=environment).returncode or code
    print(f"{database}: {'passed' if code == 0 else 'FAILED'}", flush=True)
    return code


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    parser.add_argument("--allauth", metavar="VERSION")
    options = parser.parse_args()
    # What runs in the background ignores the interrupts that some tests send to themselves.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return on_allauth(options.allauth) if options.allauth else everything()


def on_allauth(wanted: str) -> int:
    """The integration's tests on SQLite, and allauth's own beside our apps: the exit code."""
    import allauth
    import django

    print(f"allauth {allauth.__version__}, Django {django.__version__}", flush=True)
    if allauth.__version__ != wanted:
        print(f"ERROR: this should be allauth {wanted}", flush=True)
        return 1
    ours = 0
    for suite in (WITH_ALLAUTH, WITH_API):
        ours = subprocess.run([*PYTEST, *PARALLEL, "-m", "not browser", *suite]).returncode or ours
    theirs = subprocess.run([sys.executable, "-m", "tests.allauth_suite"]).returncode
    return ours or theirs


def everything() -> int:
    left_out = missing()
    for service, why in left_out.items():
        print(f"{'ERROR' if IS_REQUIRED else 'left out'}: {service}: {why}", flush=True)
    if left_out and IS_REQUIRED:
        return 1
    failures = 0
    for suite in ([], WITH_ALLAUTH, WITH_API, WITH_API_ALONE):
        failures = subprocess.run([*PYTEST, *PARALLEL, *suite]).returncode or failures
    with_redis = {"postgresql": "redis" not in left_out, "mariadb": False}
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(on_service, name, with_redis=redis)
            for name, redis in with_redis.items()
            if name not in left_out
        ]
    return failures or max((run.result() for run in runs), default=0)


if __name__ == "__main__":
    sys.exit(main())
