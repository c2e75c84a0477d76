"""How the site's recovery codes stand: counts of rows, which name nobody and change nothing."""

from recovery_backend.statistics.activity import Activity, Count, Day, activity, label
from recovery_backend.statistics.adoption import Adoption, adoption
from recovery_backend.statistics.overview import Overview, overview
from recovery_backend.statistics.period import MAX_DAYS, Period
from recovery_backend.statistics.report import Report, latest_runs, report

__all__ = [
    "MAX_DAYS",
    "Activity",
    "Adoption",
    "Count",
    "Day",
    "Overview",
    "Period",
    "Report",
    "activity",
    "adoption",
    "label",
    "latest_runs",
    "overview",
    "report",
]
