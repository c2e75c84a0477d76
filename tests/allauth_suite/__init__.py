"""django-allauth's own tests, run with this package installed."""
