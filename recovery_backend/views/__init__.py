"""The pages. Each one works with forms and links alone; JSON is the answer when it is asked for."""

from recovery_backend.views.actions import (
    DeleteAllView,
    DeleteView,
    GenerateView,
    InvalidateView,
    VerifyView,
)
from recovery_backend.views.dashboard import DashboardView
from recovery_backend.views.delivery import (
    DownloadView,
    EmailStatusView,
    EmailView,
    EventsView,
    SavedView,
)
from recovery_backend.views.entry import LoginView, LogoutView
from recovery_backend.views.page import RecoveryPage, protected

__all__ = [
    "DashboardView",
    "DeleteAllView",
    "DeleteView",
    "DownloadView",
    "EmailStatusView",
    "EmailView",
    "EventsView",
    "GenerateView",
    "InvalidateView",
    "LoginView",
    "LogoutView",
    "RecoveryPage",
    "SavedView",
    "VerifyView",
    "protected",
]
