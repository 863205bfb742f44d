"""BLEU-1..4, METEOR, ROUGE-L and CIDEr of captions against references, by pycocoevalcap.

These are the reference implementations of the COCO caption evaluation (Chen et al. 2015), after its Penn
Treebank tokenizer, which lower-cases and drops punctuation. The tokenizer and METEOR are Java programs inside
the package. All values are in percent, so that they stand beside the papers'. SPICE has a module of its own.
"""

import contextlib
import io
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from fuse_repro.errors import UsageError, require
from fuse_repro.metrics.meteor import JAVA, meteor
from fuse_repro.progress import bar

UNIT = "percent"  # of every metric, as the papers' tables have them
NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
POLICIES = ("strip", "keep")

Captions = dict[str, list[str]]


class MetricsUnavailable(UsageError):
    """The metrics cannot be computed on this machine; a run's other results stand without them."""


def caption_metrics(
    candidates: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    prefix_policy: str = "strip",
    prefix: str = "An image of",
) -> dict[str, float | int]:
    """Corpus-level scores of one caption per item.

    Prefix policy: caption scores depend on whether the search's fixed prefix counts as caption text. "strip"
    removes `prefix` (exactly as spelt) and the space after it from the candidates that begin with it; "keep"
    scores each text whole. References are never changed.

    CIDEr weighs n-grams by their rarity among the scored items' own references, so it is 0 for a single item,
    and compares only between runs over the same items.

    Args:
        candidates: item id -> text found, prefix included.
        references: item id -> reference captions; items without any are left out.
        prefix_policy: "strip" or "keep".
        prefix: the fixed beginning of every candidate.

    Returns:
        In percent: BLEU-1..4, METEOR and ROUGE-L from 0 to 100, CIDEr from 0 to 1000. Beside them the numbers
        of `items` and of those `left_out`.

    Raises:
        MetricsUnavailable: without Java, or when no item has a reference.
        UsageError: for an unknown prefix policy.
    """
    require(prefix_policy in POLICIES, "prefix_policy", prefix_policy, f"use {' or '.join(POLICIES)}")
    scored = [name for name in candidates if any(text.strip() for text in references.get(name, ()))]
    if not scored:
        raise MetricsUnavailable("no caption metrics: no item has a reference caption")
    if shutil.which("java") is None:
        raise MetricsUnavailable("no caption metrics: they need Java (e.g. apt install default-jre-headless)")
    strip = prefix_policy == "strip"
    found = {name: [strip_prefix(candidates[name], prefix) if strip else candidates[name]] for name in scored}
    wanted = {name: [text for text in references[name] if text.strip()] for name in scored}
    with bar("caption metrics"):
        found, wanted = ptb_tokenize(found, wanted)
        scores = [*_bleu(wanted, found), _meteor(wanted, found), *_rouge_and_cider(wanted, found)]
    counts = {"items": len(scored), "left_out": len(candidates) - len(scored)}
    return {name: 100 * score for name, score in zip(NAMES, scores, strict=True)} | counts


def strip_prefix(text: str, prefix: str) -> str:
    """`text` without a leading `prefix`; unchanged if it begins otherwise or the prefix ends inside a word."""
    rest = text.removeprefix(prefix)
    ends_inside_a_word = prefix[-1:].isalnum() and rest[:1].isalnum()
    return rest.lstrip() if text.startswith(prefix) and not ends_inside_a_word else text


def ptb_tokenize(*groups: Captions) -> list[Captions]:
    """The tokens of every caption of every group, joined by spaces, as pycocoevalcap's PTBTokenizer gives them.

    That class writes into its own package's folder and miscounts captions with unusual line breaks. This
    function starts the same program once for all captions, and writes no file.

    Raises:
        MetricsUnavailable: if Java does not run, with its reason.
    """
    from pycocoevalcap.tokenizer import ptbtokenizer

    jar = Path(ptbtokenizer.__file__).parent / ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR
    program = ("-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer")
    options = ("-preserveLines", "-lowerCase", "-encoding", "utf-8")
    texts = [text for group in groups for captions in group.values() for text in captions]
    lines = [" ".join(text.split()) for text in texts]
    try:
        done = subprocess.run(
            [*JAVA, *program, *options],
            input="".join(f"{line}\n" for line in lines).encode(errors="replace"),
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as err:
        raise _java_failed(err) from err
    tokenized = iter(done.stdout.decode(errors="replace").split("\n"))
    dropped = set(ptbtokenizer.PUNCTUATIONS)
    tokens = (" ".join(token for token in next(tokenized).split() if token not in dropped) for _ in texts)
    return [{name: [next(tokens) for _ in captions] for name, captions in group.items()} for group in groups]


def _bleu(wanted: Captions, found: Captions) -> list[float]:
    from pycocoevalcap.bleu.bleu import Bleu

    return [float(score) for score in Bleu(4).compute_score(wanted, found, verbose=0)[0]]


def _rouge_and_cider(wanted: Captions, found: Captions) -> list[float]:
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    with contextlib.redirect_stdout(io.StringIO()):
        return [float(metric.compute_score(wanted, found)[0]) for metric in (Rouge(), Cider())]


def _meteor(wanted: Captions, found: Captions) -> float:
    try:
        return meteor(wanted, found)
    except (OSError, ValueError) as err:
        raise _java_failed(err) from err


def _java_failed(error: Exception) -> MetricsUnavailable:
    output = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else ""
    reason = " ".join((output.strip().splitlines() or [str(error)])[0].split())
    return MetricsUnavailable(f"no caption metrics: Java does not run ({reason}); repair the Java on PATH")
