"""CLIPScore, SPICE's absence, and judged sentiment."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from golden_captions import CAPTIONS, REFERENCES
from PIL import Image
from tiny_models import tiny_clip

from fuse_repro.errors import UsageError
from fuse_repro.metrics.captions import MetricsUnavailable
from fuse_repro.metrics.clip_score import clip_scores, ref_clip_scores
from fuse_repro.metrics.sentiment import judged, sentiment_accuracy
from fuse_repro.metrics.spice import spice

java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")


def test_spice_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FUSE_REPRO_SPICE", str(tmp_path))
    with pytest.raises(MetricsUnavailable, match=r"no SPICE: it needs stanford-corenlp.*FUSE_REPRO_SPICE"):
        spice(CAPTIONS, REFERENCES)
    with pytest.raises(MetricsUnavailable, match="no item has a reference"):
        spice(CAPTIONS, {})


@java
def test_spice_with_broken_models_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setenv("FUSE_REPRO_SPICE", str(tmp_path))
    with pytest.raises(MetricsUnavailable, match="its program does not run"):
        spice(CAPTIONS, REFERENCES)


@java
def test_spice_is_in_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its program, which needs 400 MB of models, is stood in for by one that answers."""

    def answer(command: list[str], **_: object) -> None:
        scores = [{"scores": {"All": {"f": score}}} for score in (0.5, None, 0.25)]
        Path(command[command.index("-out") + 1]).write_text(json.dumps(scores))

    monkeypatch.setattr("fuse_repro.metrics.spice._class_path", list)
    monkeypatch.setattr("subprocess.run", answer)
    assert spice(CAPTIONS, REFERENCES) == 25.0


def test_clip_score_is_its_definition() -> None:
    clip = tiny_clip()
    images = [Image.new("RGB", (20, 16), colour) for colour in ("red", "navy", "white")]
    captions = ["a cat", "two dogs on a beach", "a boat"]
    scores = clip_scores(clip, images, captions)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        cosine = clip.encode([f"A photo depicts {caption}"])[0] @ clip.encode_images([image])[0]
        torch.testing.assert_close(scores[place], 2.5 * cosine.clamp(min=0), atol=1e-6, rtol=1e-5)
    with_own = ref_clip_scores(clip, images, captions, [[caption, "something"] for caption in captions])
    torch.testing.assert_close(with_own, 2 * scores / (scores + 1), atol=1e-5, rtol=1e-4)
    with pytest.raises(UsageError, match="as many of each"):
        clip_scores(clip, images, captions[:2])
    with pytest.raises(UsageError, match="at least one for each caption"):
        ref_clip_scores(clip, images, captions, [["a"], [], ["b"]])


def test_the_judge_of_sentiment() -> None:
    texts = ["a happy child with a lovely smile", "an ugly, broken chair", "a chair by a window", "a sad man"]
    assert judged(texts) == ["positive", "negative", "neutral", "negative"]
    scores = sentiment_accuracy(texts, ["positive", "negative", "positive", "negative"])
    assert scores == {"accuracy": 0.75, "negative": 1.0, "positive": 0.5, "items": 4, "judge": "VADER"}
    with pytest.raises(UsageError, match="sentiment='glad'"):
        sentiment_accuracy(["a"], ["glad"])
    with pytest.raises(UsageError, match="0 texts and 0 sentiments"):
        sentiment_accuracy([], [])
