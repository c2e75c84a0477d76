"""What makes django-q2 call nothing: its scheduler gives the whole pass up for one `Schedule`.

Each step is the one of its `scheduler.py`; that they agree is tested against it.
"""

from __future__ import annotations

import ast
from typing import Any, Literal

from django.utils import timezone


def defect_of(schedule: Any) -> Literal["", "arguments", "timetable"]:
    """What stops the scheduler at this `Schedule`, and with it every other one."""
    try:
        _task(schedule.func, *_arguments(schedule.args), **_keywords(schedule))
    except Exception:  # whatever it is, the scheduler ends by it
        return "arguments"
    try:
        if schedule.schedule_type != schedule.ONCE:
            schedule.calculate_next_run(timezone.now())
    except Exception:  # likewise: no such type, a cron that is none, or nobody who reads crons
        return "timetable"
    return ""


def _task(func: str, *args: object, **kwargs: object) -> None:
    """Takes what `async_task` takes: names that are text, and `func` once."""


def _arguments(text: str | None) -> tuple[object, ...]:
    value = ast.literal_eval(text) if text else ()
    return value if type(value) is tuple else (value,)


def _keywords(schedule: Any) -> dict[str, Any]:
    keywords = _read(schedule.kwargs) if schedule.kwargs else {}
    options = keywords.get("q_options", {})
    if not isinstance(options, dict):
        raise TypeError("q_options is no dict")
    if schedule.intended_date_kwarg:
        keywords[schedule.intended_date_kwarg] = ""
    if _leaves(schedule, options) and options.get("broker", keywords.get("broker")):
        raise TypeError("a literal is no broker")
    return keywords


def _read(text: str) -> dict[str, Any]:
    """What is written as a dict or as keywords; nothing, where it is neither."""
    try:
        literal: dict[str, Any] = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return _read_call(f"f({text})")
    return literal


def _read_call(text: str) -> dict[str, Any]:
    try:
        statement: Any = ast.parse(text).body[0]
        return {it.arg: ast.literal_eval(it.value) for it in statement.value.keywords}
    except (SyntaxError, ValueError):
        return {}


def _leaves(schedule: Any, options: dict[str, Any]) -> bool:
    """Whether its tasks go to another cluster, by a broker that the arguments may name."""
    from django_q.conf import Conf

    cluster = schedule.cluster or options.get("cluster", options.get("broker_name"))
    return cluster is not None and cluster != Conf.CLUSTER_NAME
