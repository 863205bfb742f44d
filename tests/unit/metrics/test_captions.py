"""Caption metrics: golden values, equal to pycocoevalcap called directly, prefix policies, and life without Java.

All that asks the whole METEOR is in this file: one process of it answers them, whose tables take ten seconds to read.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import golden_captions
import pytest

from fuse_repro.errors import UsageError
from fuse_repro.metrics import meteor
from fuse_repro.metrics.captions import MetricsUnavailable, caption_metrics, ptb_tokenize, strip_prefix

java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")

CANDIDATES = {
    "cat": 'An image of a "brown" cat, sitting on a sofa.',
    "plane": "An image of two planes flying over the city's airport (at night)",
    "food": "An image of a plate of food on a table!",
}
REFERENCES = {
    "cat": ["A brown cat sits on a couch.", "The cat is sitting on the sofa - alone"],
    "plane": ["Two planes fly over an airport.", "A pair of airplanes in the sky."],
    "food": ["A plate of food is on the wooden table.", "Some food", "A meal served on a white plate."],
}


def by_pycocoevalcap(candidates: dict[str, str], references: dict[str, list[str]]) -> dict[str, float]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    found = tokenizer.tokenize({name: [{"caption": text}] for name, text in candidates.items()})
    wanted = tokenizer.tokenize(
        {name: [{"caption": text} for text in references[name]] for name in candidates}
    )
    meteor = Meteor()
    scores = dict(
        zip(("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"), Bleu(4).compute_score(wanted, found)[0], strict=True)
    )
    scores |= {"METEOR": meteor.compute_score(wanted, found)[0]}
    scores |= {
        "ROUGE-L": Rouge().compute_score(wanted, found)[0],
        "CIDEr": Cider().compute_score(wanted, found)[0],
    }
    for pipe in (meteor.meteor_p.stdout, meteor.meteor_p.stderr):
        pipe.close()
    return scores


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    return caption_metrics(golden_captions.CAPTIONS, golden_captions.REFERENCES, "keep")


@java
def test_golden_values_of_pycocoevalcap(scores: dict[str, float]) -> None:
    """Ours are in percent, CIDEr too: as the papers' tables."""
    expected = {name: 100 * score for name, score in golden_captions.GOLDEN.items()}
    assert {name: scores[name] for name in golden_captions.GOLDEN} == pytest.approx(expected, abs=1e-7)


@java
def test_bleu_agrees_with_torchmetrics(scores: dict[str, float]) -> None:
    from torchmetrics.functional.text import bleu_score

    captions = {name: [text] for name, text in golden_captions.CAPTIONS.items()}
    found, wanted = ptb_tokenize(captions, golden_captions.REFERENCES)
    texts, references = [found[name][0] for name in found], [wanted[name] for name in found]
    for n in range(1, 5):
        assert scores[f"BLEU-{n}"] == pytest.approx(
            100 * float(bleu_score(texts, references, n_gram=n)), abs=1e-3
        )


@java
def test_equal_to_pycocoevalcap_and_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    more = CANDIDATES | {"unknown": "An image of something else", "blank": "An image of nothing"}
    scores = caption_metrics(more, REFERENCES | {"blank": [" "]})
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert (scores.pop("items"), scores.pop("left_out")) == (3, 2)
    assert all(0 < scores[name] < 100 for name in ("BLEU-1", "METEOR", "ROUGE-L"))
    stripped = {name: text.removeprefix("An image of ") for name, text in CANDIDATES.items()}
    expected = {name: 100 * score for name, score in by_pycocoevalcap(stripped, REFERENCES).items()}
    assert scores == pytest.approx(expected, abs=1e-10)


@java
def test_a_caption_equal_to_its_reference_is_perfect_with_its_prefix_kept() -> None:
    scores = caption_metrics(CANDIDATES, {name: [text] for name, text in CANDIDATES.items()}, "keep")
    perfect = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L"]
    assert [scores[name] for name in perfect] == pytest.approx([100.0] * 6, abs=1e-4)
    assert scores["CIDEr"] == pytest.approx(1000.0)


@java
def test_awkward_captions_keep_their_places() -> None:
    groups = [
        {"a": ["", "..."], "b": ["one\u2028two\r\nthree\x0b|||  four"]},
        {"c": ["Zoë's café — 3.5 €", "\udc80"], "d": ["last"]},
    ]
    first, second = ptb_tokenize(*groups)
    assert first == {"a": ["", ""], "b": ["one two three | | | four"]}
    assert second["c"][0].startswith("zoë 's café")
    assert second["d"] == ["last"]
    candidates = {"a": "An image of", "b": "An image of |||"}
    scores = caption_metrics(candidates, {"a": ["a ||| b"], "b": ["café", "..."]})
    assert scores["items"] == 2
    assert scores["METEOR"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("An image of a cat.", "a cat."),
        ("An image of  An image of", "An image of"),
        ("An image of", ""),
        ("An image often seen", "An image often seen"),
        ("an image of a cat", "an image of a cat"),
        ("A cat. An image of", "A cat. An image of"),
    ],
)
def test_strip_prefix(text: str, stripped: str) -> None:
    assert strip_prefix(text, "An image of") == stripped


def test_without_java_the_note_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetricsUnavailable, match="no caption metrics: they need Java"):
        caption_metrics(CANDIDATES, REFERENCES)
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho 'Unable to locate a Java Runtime' >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), "/bin"]))
    with pytest.raises(MetricsUnavailable, match=r"does not run \(Unable to locate a Java Runtime\); repair"):
        caption_metrics(CANDIDATES, REFERENCES)


def test_without_references_or_with_an_unknown_policy() -> None:
    with pytest.raises(MetricsUnavailable, match="no item has a reference caption"):
        caption_metrics(CANDIDATES, {})
    with pytest.raises(UsageError, match="prefix_policy='drop' is not allowed: use strip or keep"):
        caption_metrics(CANDIDATES, REFERENCES, "drop")


@pytest.fixture
def quick_meteor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """METEOR that compares whole words only: its tables take ten seconds to read. The one that runs already stays."""
    monkeypatch.setattr(meteor, "OPTIONS", (*meteor.OPTIONS, "-m", "exact"))
    monkeypatch.setattr(meteor, "_running", [])
    yield
    meteor._stop()


@java
def test_one_meteor_process_answers_again_and_again_and_is_replaced_when_it_has_ended(
    quick_meteor: None,
) -> None:
    wanted, found = {"a": ["a cat sits"], "b": ["a dog runs"]}, {"a": ["a cat"], "b": ["a cow"]}
    first = meteor.meteor(wanted, found)
    (process,) = meteor._running
    assert meteor.meteor(found, found) > first
    assert meteor._running == [process], "the same one"
    process.stop()
    assert not process.alive
    assert meteor.meteor(wanted, found) == first
    assert meteor._running[0].alive


@java
def test_a_question_that_is_broken_off_leaves_no_answer_behind(
    quick_meteor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, found = {"a": ["a cat sits"]}, {"a": ["a cat"]}
    expected = meteor.meteor(wanted, found)

    def interrupted(self: meteor.Meteor) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(meteor.Meteor, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            meteor.meteor(wanted, found)
    assert meteor._running == []
    assert meteor.meteor(wanted, found) == expected
