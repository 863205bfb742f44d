"""Complete runs: each from a config to a finished run directory."""
