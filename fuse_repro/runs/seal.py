"""What the results of a shard say about the records they were made of, so that an edit by hand shows."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHARD = "shard"  # key of the manifest and the results of a run that works on a part of a data set


def shard_seal(shard: Mapping[str, Any], records: Path) -> dict[str, Any]:
    """Which shard it is, how many items it has, and the hash of its file of records.

    Args:
        shard: what the manifest notes of it.
        records: the file.
    """
    own = {"shards": shard["shards"], "shard": shard["shard"], "items": len(shard["items"])}
    content = records.read_bytes() if records.exists() else b""
    return {**own, "records_sha256": hashlib.sha256(content).hexdigest()}
