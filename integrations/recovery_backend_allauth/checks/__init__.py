"""System checks of the integration: whether allauth asks us, and whether what it does is safe."""

from recovery_backend_allauth.checks import environment, installation, second_step
from recovery_backend_allauth.checks.messages import Check

CHECKS: tuple[Check, ...] = (
    second_step.check_step,
    second_step.check_marker,
    second_step.check_version,
    second_step.check_supported_types,
    installation.check_order,
    installation.check_urls,
    installation.check_middleware,
    environment.check_cache,
    environment.check_limit,
    environment.check_proxies,
    environment.check_sqlite,
)
