"""k, ridge and centring from held-out anchors alone."""

from itertools import product
from pathlib import Path

import pytest
import torch
from tiny_tables import related_model, table_model

from fuse_repro.adapters.anchors import Anchors, shared_anchors
from fuse_repro.adapters.relative import calibration
from fuse_repro.adapters.relative.calibration import FRAMES, RIDGES, arrival, calibrate, calibrated
from fuse_repro.adapters.relative.module import RelativePromptTransfer
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

SETTINGS = {"holdout": 40, "holdout_noise": 0.0}
CONFIG = SETTINGS | {"calibrate": True}


@pytest.fixture(autouse=True)
def _small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "KS", (20, 60, 5000, None))


@pytest.fixture(scope="module")
def source() -> FrozenModel:
    return table_model("byte_level_bpe", 16)


@pytest.fixture(scope="module")
def target(source: FrozenModel) -> FrozenModel:
    """A rotated and shifted copy in another tokenizer, with noise."""
    other = related_model(source, "metaspace_bpe", 16, noise=0.0)
    anchors = shared_anchors([source, other])
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(2)))[0]
    table = other.embedding_table().clone()
    noise = 0.2 * torch.randn(len(anchors), 16, generator=torch.Generator().manual_seed(3))
    table[anchors.target_ids] = source.embed(anchors.source_ids) @ turn + noise
    return table_model("metaspace_bpe", 16, table=table + 3.0)


def test_recall_and_cosine_of_a_hand_worked_case() -> None:
    own = torch.tensor([[3.0, 0.0], [0.0, 3.0]])
    others = torch.tensor([[-3.0, 0.0], [0.0, -3.0]])
    assert arrival(own, own, others) == (1.0, pytest.approx(1.0))
    recall, cosine = arrival(torch.tensor([[2.0, 1.0], [1.0, 0.0]]), own, others)
    assert recall == 0.5
    assert cosine == pytest.approx((2 / 5**0.5 + 0.0) / 2)
    # What all tokens share does not count as having arrived.
    shared = torch.tensor([100.0, 100.0])
    assert arrival(torch.zeros(2, 2) + shared, own + shared, others + shared)[1] == pytest.approx(
        0.0, abs=1e-5
    )


def test_the_table_holds_the_whole_grid_best_first(source: FrozenModel, target: FrozenModel) -> None:
    table = calibrate([source], target, shared_anchors([source, target]), **SETTINGS)
    settings = {(row.k, row.ridge, (row.centre, row.whiten)) for row in table}
    assert settings == set(product((20, 60, None), RIDGES, FRAMES))
    assert len(table) == len(settings)
    ranks = [(row.cosine, row.recall) for row in table]
    assert ranks == sorted(ranks, reverse=True)


def test_it_finds_that_shifted_spaces_need_centring(source: FrozenModel, target: FrozenModel) -> None:
    transfer = RelativePromptTransfer.fit(source, target, **CONFIG)
    best = transfer.calibration[0]
    assert best.centre
    assert best.recall > 0.8
    assert (transfer.settings.k, transfer.settings.ridge) == (best.k, best.ridge)
    assert (transfer.settings.centre, transfer.settings.whiten) == (True, best.whiten)
    assert max(row.cosine for row in transfer.calibration if not row.centre) < best.cosine
    assert len(transfer.anchors) == len(shared_anchors([source, target])), "all anchors are used in the end"


def test_shuffled_anchors_arrive_nowhere(source: FrozenModel, target: FrozenModel) -> None:
    anchors = shared_anchors([source, target])
    shuffled = torch.randperm(len(anchors), generator=torch.Generator().manual_seed(0))
    broken = Anchors(anchors.words, (anchors.source_ids, anchors.target_ids[shuffled]))
    assert calibrate([source], target, broken, **SETTINGS)[0].recall < 0.2


def test_it_repeats_and_depends_on_the_seed(source: FrozenModel, target: FrozenModel) -> None:
    anchors = shared_anchors([source, target])
    tables = [calibrate([source], target, anchors, **SETTINGS, seed=seed) for seed in (0, 0, 1)]
    assert tables[0] == tables[1] != tables[2]


def test_noise_makes_it_harder_and_is_drawn_with_the_seed(source: FrozenModel, target: FrozenModel) -> None:
    anchors = shared_anchors([source, target])
    tables = [
        calibrate([source], target, anchors, holdout=40, holdout_noise=noise) for noise in (0.0, 1.0, 1.0)
    ]
    assert tables[1] == tables[2]
    assert max(row.cosine for row in tables[1]) < max(row.cosine for row in tables[0]) - 0.05
    with pytest.raises(UsageError, match=r"adapter\.holdout_noise=-1"):
        RelativePromptTransfer.check(**(CONFIG | {"holdout_noise": -1.0}))


def test_two_sources_are_calibrated_together(source: FrozenModel, target: FrozenModel) -> None:
    second = table_model("metaspace_unigram", 12, seed=5)
    both = RelativePromptTransfer.fit([source, second], target, **CONFIG)
    prompts = [torch.randn(2, 16), torch.randn(2, 12)]
    assert both.transfer_all(prompts).shape == (2, 16)
    weighted = RelativePromptTransfer.fit([source, second], target, **CONFIG, weights=(1.0, 0.0))
    assert weighted.calibration[0].recall >= both.calibration[0].recall


def test_the_cache_keeps_the_table_by_its_inputs(
    tmp_path: Path, source: FrozenModel, target: FrozenModel
) -> None:
    anchors = shared_anchors([source, target])

    def files() -> list[Path]:
        return sorted(tmp_path.rglob("*.safetensors"))

    first = calibrated([source], target, anchors, **SETTINGS, cache_dir=tmp_path)
    assert len(files()) == 1
    assert calibrated([source], target, anchors, **SETTINGS, cache_dir=tmp_path) == first
    adam = RelativePromptTransfer.fit(source, target, cache_dir=tmp_path, **CONFIG, solver="adam")
    assert adam.calibration == first
    assert len(files()) == 1
    files()[0].write_bytes(b"damaged")
    assert calibrated([source], target, anchors, **SETTINGS, cache_dir=tmp_path) == first
    calibrated([source], target, anchors, **(SETTINGS | {"holdout": 30}), cache_dir=tmp_path)
    turned = Anchors(anchors.words, anchors.ids[::-1])
    calibrated([target], source, turned, **SETTINGS, cache_dir=tmp_path)
    assert len(files()) == 3


def test_too_few_anchors(source: FrozenModel, target: FrozenModel) -> None:
    few = {"anchors": 60, "anchor_selection": "frequent"}
    with pytest.raises(UsageError, match=r"adapter\.holdout=150.*60 anchors allow at most 30"):
        RelativePromptTransfer.fit(source, target, calibrate=True, **few)


def test_lengths_shrink_with_what_does_not_arrive(source: FrozenModel, target: FrozenModel) -> None:
    anchors = shared_anchors([source, target])

    def length(noise: float) -> float:
        rows = calibrate([source], target, anchors, holdout=40, holdout_noise=noise)
        return next(row.length for row in rows if (row.k, row.centre, row.whiten) == (None, True, True))

    exact, noisy = length(0.0), length(1.0)
    assert 0.8 < exact < 1.1
    assert noisy < 0.8 * exact


def test_length_stretches_rows_from_the_centre(source: FrozenModel, target: FrozenModel) -> None:
    anchors = shared_anchors([source, target])
    prompt = source.embedding_table()[3:7]
    whole, half = (
        RelativePromptTransfer.fit(source, target, given=anchors, centre=True, length=length)
        for length in (1.0, 0.5)
    )
    centre = whole.space(-1).centre.to(prompt)
    torch.testing.assert_close(half.transfer(prompt) - centre, 0.5 * (whole.transfer(prompt) - centre))
    torch.testing.assert_close(half.weight, 0.5 * whole.weight)
    with pytest.raises(UsageError, match=r"adapter\.length=0"):
        RelativePromptTransfer.check(length=0.0)


def test_a_models_own_prompt_is_no_noisy_word(source: FrozenModel) -> None:
    """What tuning found away from words comes back whole, however much noise other models' prompts are given."""
    transfer = RelativePromptTransfer.fit(source, source, **(CONFIG | {"holdout_noise": 0.5}))
    table = source.embedding_table()
    prompt = table.mean() + table.std() * torch.randn(5, 16, generator=torch.Generator().manual_seed(7))
    moved = transfer.transfer(prompt)
    assert float((moved - prompt).norm() / prompt.norm()) < 0.01
