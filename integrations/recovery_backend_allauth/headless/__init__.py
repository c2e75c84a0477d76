"""Signing in with e-mail address and code, for allauth's headless clients."""
