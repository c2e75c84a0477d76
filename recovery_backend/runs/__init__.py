"""Scheduled rows at work: followed by the queue, run under a lease, recorded, reported."""

from recovery_backend.runs.edits import note_deleted, note_saved, request_run
from recovery_backend.runs.run import Outcome, run

__all__ = ["Outcome", "note_deleted", "note_saved", "request_run", "run"]
