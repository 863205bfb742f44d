"""Words whose token a model has hardly learnt, found by their rows."""

import torch
from tiny_tables import table_model

from fuse_repro.adapters import RidgeMap, SparseMap
from fuse_repro.adapters.anchors import AnchorSettings, shared_anchors
from fuse_repro.adapters.learnt_tokens import well_trained
from fuse_repro.models.base import FrozenModel

SHORT, UNUSED = "dog", "the"


def half_trained(together: float = 0.01) -> FrozenModel:
    """A model with a short row for "dog", and one for "the" that lies where unused rows began.

    Args:
        together: how far the unused rows lie from each other.
    """
    words = table_model("byte_level_bpe", 64).tokenizer
    generator = torch.Generator().manual_seed(3)
    start = 4.0 * torch.ones(64)
    table = start + torch.randn(words.vocab_size + 8, 64, generator=generator)
    table[words.vocab_size :] = start + together * torch.randn(8, 64, generator=generator)
    (short,), (near,) = words.word_ids([SHORT, UNUSED])
    table[short] = 0.01
    table[near] = start + 0.05
    return table_model("byte_level_bpe", 64, table=table)


def test_short_rows_and_rows_beside_the_unused_ones_are_no_anchors() -> None:
    model, target = half_trained(), table_model("metaspace_bpe", 24)
    everything = shared_anchors([model, target])
    learnt = shared_anchors([model, target], trained_only=True)
    assert set(everything.words) - set(learnt.words) == {SHORT, UNUSED}
    assert AnchorSettings(trained_only=True).choose([model, target]).words == learnt.words
    for index in range(2):
        pairs = dict(zip(everything.words, everything.ids[index].tolist(), strict=True))
        assert [pairs[word] for word in learnt.words] == learnt.ids[index].tolist()


def test_it_can_be_switched_off_and_is_off_for_the_maps_of_the_papers() -> None:
    model, target = half_trained(), table_model("metaspace_bpe", 24)
    place = shared_anchors([model, target]).words.index(SHORT)
    prompt = model.embed(shared_anchors([model, target]).source_ids[[place]])
    own = target.embed(shared_anchors([model, target]).target_ids[[place]])
    kept = SparseMap.fit(model, target, trained_only=False).transfer(prompt)
    torch.testing.assert_close(kept, own, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(SparseMap.fit(model, target).transfer(prompt), own, atol=0.1)
    assert torch.equal(
        RidgeMap.fit(model, target).weight, RidgeMap.fit(model, target, trained_only=False).weight
    )
    assert not torch.equal(
        RidgeMap.fit(model, target).weight, RidgeMap.fit(model, target, trained_only=True).weight
    )


def test_unused_rows_that_do_not_lie_together_say_nothing() -> None:
    model = half_trained(together=3.0)
    words = shared_anchors([model, model])
    kept = dict(zip(words.words, well_trained(model, words.source_ids).tolist(), strict=True))
    assert [word for word, learnt in kept.items() if not learnt] == [SHORT]


def test_a_model_without_unused_rows_is_judged_by_length_alone() -> None:
    plain = table_model("byte_level_bpe", 64)
    words = shared_anchors([plain, plain])
    assert len(plain.spare_ids) == 0
    assert well_trained(plain, words.source_ids).all()
