"""What is removed for good, and when: ended codes, and the records of what happened."""

from recovery_backend.purge.codes import purge_codes
from recovery_backend.purge.limits import OutOfBounds
from recovery_backend.purge.records import purge_audit
from recovery_backend.purge.run import Purged

__all__ = ["OutOfBounds", "Purged", "purge_audit", "purge_codes"]
