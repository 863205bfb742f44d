"""`fuse-repro doctor`: what this machine has of what runs need, and what to do where something is missing."""

from fuse_repro.doctor.command import main

__all__ = ["main"]
