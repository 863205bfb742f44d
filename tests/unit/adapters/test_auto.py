"""`auto`: what it chooses by, what it says of it, and that the chosen map is used."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from tiny_tables import related_model, table_model

from fuse_repro.adapters import (
    AutoMap,
    DirectMap,
    DiscretisedMap,
    LocalMap,
    ProcrustesMap,
    RandomMap,
    RidgeMap,
    SparseMap,
    shared_anchors,
)
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

GOOD_AND_BAD = {"drowned": partial(RidgeMap.fit, ridge=1000.0), "good": partial(RidgeMap.fit, ridge=0.01)}


@pytest.fixture(scope="module")
def source() -> FrozenModel:
    return table_model("byte_level_bpe", 16)


@pytest.fixture(scope="module")
def target(source: FrozenModel) -> FrozenModel:
    return related_model(source, "metaspace_bpe", 24)


def near(wanted: torch.Tensor) -> Callable[[torch.Tensor], tuple[float, float]]:
    """A rating that likes prompts near `wanted`; precision@1 tells nothing, so the loss decides."""
    return lambda prompt: (0.5, float((prompt - wanted).norm()))


def test_held_out_words_choose_the_map_that_brings_them_home(
    source: FrozenModel, target: FrozenModel
) -> None:
    fitted = AutoMap.fit(source, target, candidates=GOOD_AND_BAD, holdout=20, holdout_noise=0.0)
    prompt = source.embedding_table()[5:8] + 0.1
    choice = fitted.choose(prompt)
    assert (choice.chosen, choice.criterion) == ("good", "words")
    record = choice.record()
    assert list(record["candidates"]) == ["good", "drowned"]
    assert record["candidates"]["good"]["cosine"] == pytest.approx(1.0, abs=1e-2)
    assert record["candidates"]["good"]["recall"] == 1.0
    assert set(record["candidates"]["drowned"]) == {"cosine", "recall"}
    good = GOOD_AND_BAD["good"](source, target)
    assert torch.equal(fitted.transfer(prompt), good.transfer(prompt))
    alignment = fitted.align(["the dog surfboard"])
    gradient = torch.randn(1, alignment.target_ids.shape[1], 24)
    assert torch.equal(fitted.pullback(gradient, alignment), good.pullback(gradient, alignment))
    pulled = fitted.pull_tokens(gradient, alignment, [0])
    assert torch.equal(pulled, good.pull_tokens(gradient, alignment, [0]))
    assert torch.equal(fitted.score_tokens(pulled[:, 0]), good.score_tokens(pulled[:, 0]))


def test_held_out_words_are_not_fitted_on(source: FrozenModel) -> None:
    """Two unrelated models: a map that is exact at words it knows must not look good by them."""
    stranger = table_model("metaspace_bpe", 24, seed=9)
    fitted = AutoMap.fit(
        source, stranger, candidates={"local": LocalMap.fit, "sparse": SparseMap.fit}, holdout=20
    )
    for measured in fitted.by_words.record()["candidates"].values():
        assert measured["recall"] < 0.5
    anchors = shared_anchors([source, stranger])
    x, y = anchors.embeddings([source, stranger])
    torch.testing.assert_close(fitted.maps["sparse"].transfer(x[:3]), y[:3], rtol=1e-3, atol=1e-3)


def test_the_round_trip_asks_the_source(source: FrozenModel, target: FrozenModel) -> None:
    fitted = AutoMap.fit(source, target, candidates=GOOD_AND_BAD, holdout=20)
    prompt = source.embedding_table()[5:8]
    choice = fitted.choose(prompt, near(prompt))
    assert (choice.chosen, choice.criterion) == ("good", "round_trip")
    measured = choice.record()["candidates"]
    assert measured["good"]["accuracy"] == measured["drowned"]["accuracy"] == 0.5
    assert measured["good"]["loss"] < measured["drowned"]["loss"]
    other = fitted.choose(prompt, near(source.embed(shared_anchors([source, target]).source_ids).mean(0)))
    assert other.chosen == "drowned"  # by the prompt and the rating, not once for all
    by_words = AutoMap.fit(source, target, candidates=GOOD_AND_BAD, holdout=20, criterion="words")
    assert by_words.choose(prompt, near(prompt)).criterion == "words"


def test_precision_comes_first_and_ties_go_to_the_first_candidate(
    source: FrozenModel, target: FrozenModel
) -> None:
    fitted = AutoMap.fit(source, target, candidates=GOOD_AND_BAD, holdout=20)
    prompt = source.embedding_table()[5:8]
    assert fitted.choose(prompt, lambda vectors: (0.5, 1.0)).chosen == "drowned"
    length = prompt.norm()
    assert fitted.choose(prompt, lambda v: (float((v - v.mean(0)).norm() > length), -9.0)) is not None
    # The better precision wins although its loss is worse.
    wins = fitted.choose(prompt, lambda v: (-float((v - prompt).norm()), -float((v - prompt).norm())))
    assert wins.chosen == "good"


def test_a_map_that_is_undone_by_its_own_way_back_gains_nothing_by_it(source: FrozenModel) -> None:
    """Nothing moves by `direct` there and back, wherever the target's words are."""
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(2)))[0]
    turned = table_model("byte_level_bpe", 16, table=source.embedding_table() @ turn)
    fits = {"direct": DirectMap.fit, "ridge": RidgeMap.fit, "procrustes": ProcrustesMap.fit}
    prompt = source.embedding_table()[5:8]
    choice = AutoMap.fit(source, turned, candidates=fits).choose(prompt, near(prompt))
    assert choice.chosen != "direct"


def test_what_cannot_be_fitted_or_judged_is_left_out_with_its_reason(
    source: FrozenModel, target: FrozenModel
) -> None:
    fits = {"direct": DirectMap.fit, "discretise": DiscretisedMap.fit, **GOOD_AND_BAD}
    fitted = AutoMap.fit(source, target, candidates=fits, holdout=20)
    assert list(fitted.maps) == ["discretise", "drowned", "good"]
    choice = fitted.by_words
    assert choice.chosen == "good"
    assert "not fitted on shared words" in choice.record()["candidates"]["discretise"]["error"]
    prompt = source.embedding_table()[5:8]
    assert "accuracy" in fitted.choose(prompt, near(prompt)).record()["candidates"]["discretise"]
    assert fitted.chosen is fitted.maps["good"]


def test_the_same_twice(source: FrozenModel, target: FrozenModel) -> None:
    first, again = (AutoMap.fit(source, target, holdout=20) for _ in range(2))
    assert first.by_words == again.by_words
    prompt = source.embedding_table()[5:8]
    assert first.choose(prompt, near(prompt)) == again.choose(prompt, near(prompt))


def test_nothing_to_choose_from_is_one_line(source: FrozenModel, target: FrozenModel) -> None:
    words = shared_anchors([source, target])
    cut = {
        name: partial(fit, exclude=words.words) for name, fit in (("a", RidgeMap.fit), ("b", LocalMap.fit))
    }
    for candidates, said in (
        ({"direct": DirectMap.fit, "ridge": RidgeMap.fit}, "one map is left, ridge .direct: .*24"),
        (cut, "no map is left .a: .*share no anchors"),
    ):
        with pytest.raises(UsageError, match=f"nothing to choose from: {said}") as caught:
            AutoMap.fit(source, target, candidates=candidates)
        assert "\n" not in str(caught.value)


def test_nothing_to_choose_by_is_one_line(source: FrozenModel, target: FrozenModel) -> None:
    prompt = source.embedding_table()[5:8]
    few = shared_anchors([source, target]).take(range(10))
    with pytest.raises(UsageError, match=r"nothing to choose by: .*share 10 words, too few"):
        AutoMap.fit(source, target, given=few).choose(prompt)
    blind = {"discretise": DiscretisedMap.fit, "random": RandomMap.fit}
    with pytest.raises(
        UsageError, match="nothing to choose by: discretise: it is not fitted on shared words"
    ):
        AutoMap.fit(source, target, candidates=blind).transfer(prompt)
    with pytest.raises(UsageError, match=r"adapter\.criterion='round_trip' asks .* there are none"):
        AutoMap.fit(source, target, criterion="round_trip").choose(prompt)
    assert AutoMap.fit(source, target, given=few).choose(prompt, near(prompt)).criterion == "round_trip"


def test_settings_out_of_range() -> None:
    for settings, said in (
        (
            {"candidates": {"ridge": RidgeMap.fit}},
            r"adapter\.candidates=\['ridge'\] is not allowed: two maps",
        ),
        ({"candidates": {}}, r"adapter\.candidates=\[\] is not allowed"),
        ({"candidates": {"a.b": RidgeMap.fit, "c": RidgeMap.fit}}, "names without a dot"),
        ({"candidates": {"a": RidgeMap.fit, "b": 3}}, r"adapter\.candidates\.b=3"),
        (
            {"candidates": {"a": RidgeMap.fit, "b": partial(SparseMap.fit, atoms=0)}},
            r"adapter\.candidates\.b\.atoms=0",
        ),
        ({"criterion": "dev"}, r"adapter\.criterion='dev' is not allowed: one of round_trip, words"),
        ({"holdout": 0}, "adapter.holdout=0"),
        ({"holdout_noise": -1}, "adapter.holdout_noise=-1"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            AutoMap.check(**settings)
        assert "\n" not in str(caught.value)
