"""How fast a sign-in and a purge are: `python -m benchmarks` and `python -m benchmarks purge`."""
