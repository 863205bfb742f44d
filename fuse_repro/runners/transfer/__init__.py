"""Soft prompts: tuned, moved to another model, and tested there."""
