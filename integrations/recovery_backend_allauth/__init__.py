"""Recovery codes as the fallback of django-allauth's second factor."""
