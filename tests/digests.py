"""What must not depend on the order of Python's hashes, as text: `python digests.py` prints it for this process."""

import json
import sys
import tempfile
from pathlib import Path

import tiny_tokenizers
from tiny_tables import table_model

from fuse_repro.adapters.anchors import shared_anchors
from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.data.corpora import TextFileCorpus
from fuse_repro.data.facts import GeographyFacts
from fuse_repro.data.mini_corpus import MiniCorpus, digest

TOKENIZERS = ("byte_level_bpe", "wordpiece", "metaspace_unigram", "metaspace_bpe", "clip_bpe")
SELECTIONS = {"all": None, "frequent": 40, "random": 40}
SMALL = {"relations": ("P36", "P30"), "cities": 10, "fillers": 50}


def digests() -> dict[str, object]:
    """Name -> what one part of the package makes; the same in every process."""
    models = [table_model(name, 4) for name in ("byte_level_bpe", "wordpiece")]
    anchors = {
        selection: shared_anchors(models, count, selection, seed=3) for selection, count in SELECTIONS.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        path.write_text("one two three four five six seven " * 3)
        words = TextFileCorpus(path).fingerprint
    return {
        "tokenizers": [WordTokenizer(getattr(tiny_tokenizers, name)()).fingerprint for name in TOKENIZERS],
        "words of a text": words,
        "statements": digest(MiniCorpus(**SMALL).statements()),
        "facts": [task.digest for task in GeographyFacts(cities=50).tasks()],
        "anchors": {
            name: [list(found.words), [ids.tolist() for ids in found.ids]] for name, found in anchors.items()
        },
    }


if __name__ == "__main__":
    json.dump(digests(), sys.stdout)
