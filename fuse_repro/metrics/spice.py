"""SPICE (Anderson et al. 2016) by its reference implementation, where the parser models that it needs are present."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from fuse_repro.errors import first_line
from fuse_repro.metrics.captions import JAVA, MetricsUnavailable, strip_prefix
from fuse_repro.progress import bar

MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
FOLDER = "FUSE_REPRO_SPICE"
SCORER = "edu.anu.spice.SpiceScorer"


def spice(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]], prefix: str = "") -> float:
    """Mean F-score of the scene graphs' propositions, in percent, over the items that have references.

    A caption without any proposition counts as 0.

    Args:
        candidates: item id -> caption.
        references: item id -> reference captions.
        prefix: taken off the captions that begin with it.

    Raises:
        MetricsUnavailable: without Java, the models, or a reference; the message says where to get the
            models.
    """
    items = [
        {
            "image_id": name,
            "test": strip_prefix(text, prefix) if prefix else text,
            "refs": list(references[name]),
        }
        for name, text in candidates.items()
        if references.get(name)
    ]
    if not items:
        raise MetricsUnavailable("no SPICE: no item has a reference caption")
    path = os.pathsep.join(map(str, _class_path()))
    with tempfile.TemporaryDirectory() as folder, bar("SPICE"):
        asked, answer = Path(folder, "in.json"), Path(folder, "out.json")
        asked.write_text(json.dumps(items), encoding="utf-8")
        command = [
            *JAVA,
            "-Xmx8G",
            "-cp",
            path,
            SCORER,
            str(asked),
            "-out",
            str(answer),
            "-subset",
            "-silent",
        ]
        try:
            subprocess.run(command, check=True, capture_output=True)
            scores = [row["scores"]["All"]["f"] for row in json.loads(answer.read_text(encoding="utf-8"))]
        except (OSError, subprocess.CalledProcessError, ValueError, KeyError) as err:
            raise MetricsUnavailable(f"no SPICE: its program does not run ({first_line(err)})") from err
    return float(100 * sum(score or 0.0 for score in scores) / len(scores))


def _class_path() -> list[Path]:
    """SPICE's own jars and the parser's.

    Raises:
        MetricsUnavailable: the parser's are not there.
    """
    from pycocoevalcap.spice import spice as package

    home = Path(package.__file__).parent
    folders = [Path(os.environ[FOLDER]).expanduser()] if os.environ.get(FOLDER) else []
    for folder in (*folders, home / "lib"):
        if all((folder / name).is_file() for name in MODELS):
            return [
                home / package.SPICE_JAR,
                *sorted((home / "lib").glob("*.jar")),
                *(folder / m for m in MODELS),
            ]
    raise MetricsUnavailable(
        f"no SPICE: it needs {' and '.join(MODELS)} (400 MB, from https://nlp.stanford.edu/software/"
        f"stanford-corenlp-full-2015-12-09.zip) in the folder that {FOLDER} names, or in pycocoevalcap's spice/lib"
    )
