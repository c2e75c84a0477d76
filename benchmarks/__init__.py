"""How fast a sign-in is, in units of one password hash of the same Django: `python -m benchmarks`."""
