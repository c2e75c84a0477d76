"""Recovery codes as JSON, for front ends and apps: what the pages do, by the same flows."""
