"""Which families of models of transformers can be used here: each with tiny random weights, from load to a step.

    python benchmarks/architectures.py
    python benchmarks/architectures.py --kinds causal --families llama mpt
    python benchmarks/architectures.py --page

Every family of transformers' own lists of causal, masked, encoder, classifier and CLIP-like models is made as small as
its config allows by one generic rule (tests/tiny_families.py), saved, loaded as a user's folder is, and checked
(tests/family_checks.py). `--page` puts the results into docs/models.md. Families given by name are replaced in the
results; the others are kept.
"""

import argparse
import gc
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from _common import RESULTS

sys.path.insert(0, str(RESULTS.parents[1] / "tests"))
from families_page import with_tables
from family_checks import check_family, load_family, save_family
from tiny_families import MAPPINGS, VERSION, NotShrunk, families, within_seconds
from transformers.utils import logging

from fuse_repro.errors import UsageError, first_line

SECONDS = 30  # of processor time for one family, load and checks together
FILE = RESULTS / "architectures.json"
PAGE = RESULTS.parents[1] / "docs" / "models.md"
LONGEST = 160  # characters of a reason


def tried(kind: str, family: str) -> dict[str, Any]:
    """What became of one family: `works`, `refused`, `fails` or `not tried`, with the reason."""
    row: dict[str, Any] = {"kind": kind, "family": family}
    passed: list[str] = []
    try:
        with tempfile.TemporaryDirectory() as folder, within_seconds(SECONDS):
            save_family(kind, family, Path(folder))
            model = load_family(kind, family, Path(folder))
            passed.append("load")
            for name in check_family(kind, model):
                passed.append(name)
        row["result"] = "works"
    except NotShrunk as err:
        row |= {"result": "not tried", "reason": str(err)}
    except UsageError as err:
        row |= {"result": "refused", "reason": str(err).replace(folder, "FOLDER")}
    except Exception as err:
        reason = first_line(err).replace(folder, "FOLDER").removeprefix("AssertionError: ")
        saved = "load" in passed or "FOLDER" in reason
        row |= {"result": "fails" if saved or passed else "not tried", "reason": reason}
    if row["result"] != "works":
        row["reason"] = " ".join(row["reason"].split(": take another model")[0].split())[:LONGEST]
    row["passed"] = passed
    return row


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--kinds", nargs="*", default=list(MAPPINGS), choices=list(MAPPINGS))
    arguments.add_argument("--families", nargs="*", help="none: all")
    arguments.add_argument(
        "--page", action="store_true", help="make the tables of docs/models.md anew, and no more"
    )
    arguments.add_argument("--missing", action="store_true", help="only those without a result")
    arguments.add_argument(
        "--again", action="store_true", help="only those that did not work, or have no result"
    )
    wanted = arguments.parse_args()
    if wanted.page:
        PAGE.write_text(
            with_tables(PAGE.read_text(encoding="utf-8"), json.loads(FILE.read_text())), encoding="utf-8"
        )
        return
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    rows = {}
    if FILE.exists():
        rows = {(row["kind"], row["family"]): row for row in json.loads(FILE.read_text())["families"]}
    for kind in wanted.kinds:
        names = [name for name in families(kind) if wanted.families is None or name in wanted.families]
        for family in names:
            known = rows.get((kind, family))
            if known is not None and (wanted.missing or (wanted.again and known["result"] == "works")):
                continue
            row = rows[kind, family] = tried(kind, family)
            print(kind, family, row["result"], row.get("reason", ""), flush=True)
            write(rows)
            gc.collect()


def write(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Keep the results, sorted by kind and family."""
    kinds = list(MAPPINGS)
    order = sorted(rows, key=lambda key: (kinds.index(key[0]), key[1]))
    FILE.write_text(
        json.dumps({"transformers": VERSION, "families": [rows[key] for key in order]}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
