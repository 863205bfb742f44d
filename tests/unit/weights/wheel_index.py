"""Real, tiny wheels in a local folder that pip is told to use instead of the network."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def build_wheel(folder: Path, name: str, files: Mapping[str, bytes], version: str = "1.0") -> dict[str, str]:
    """Write a wheel that pip accepts; path inside the wheel -> sha256."""
    info = f"{name}-{version}.dist-info"
    meta = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in {**files, **meta}.items():
            archive.writestr(path, content)
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
