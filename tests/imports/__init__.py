"""Moving in from other packages, each as it is: run by tests/test_imports.py, under their settings."""
