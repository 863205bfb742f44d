"""The contract of a run directory: its files, lock, status, observers, and where its numbers come from."""
