"""Codes that users got from another package, moved into our tables.

Each module knows how one package keeps its codes. A project moves in with the command
`import_recovery_codes`, while the other package is still installed.
"""

from recovery_backend.imports.run import Moved, Source, run
from recovery_backend.imports.sources import APPS, register, source_of

__all__ = ["APPS", "Moved", "Source", "register", "run", "source_of"]
