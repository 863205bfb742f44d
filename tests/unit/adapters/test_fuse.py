"""The adapter: exact forward, t-algebra pullback backward."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import tiny_bert_encoder, tiny_gemma3, tiny_gpt2
from tiny_tokenizers import SENTENCES

from fuse_repro.adapters import EmbeddingMap, FuseAdapterModule, RandomMap
from fuse_repro.adapters.fuse import pull
from fuse_repro.adapters.fuse.fit import fit_maps, group_words
from fuse_repro.adapters.fuse.pull import RandomMaps, random_tensor_map
from fuse_repro.algebra.t_product import t_pinv, t_product, t_transpose
from fuse_repro.alignment.pairs import Alignment, WordPair
from fuse_repro.errors import UsageError
from fuse_repro.models.base import FrozenModel

WORDS = tuple(dict.fromkeys(" ".join(SENTENCES).split()))
TEXT = "An image of a zigzag surfboard next to a giraffe."


@pytest.fixture(scope="module")
def lm() -> FrozenModel:
    return tiny_gpt2()


@pytest.fixture(scope="module")
def encoder() -> FrozenModel:
    return tiny_bert_encoder()


@pytest.fixture(scope="module")
def adapter(lm: FrozenModel, encoder: FrozenModel) -> FuseAdapterModule:
    return FuseAdapterModule.fit(lm, encoder, WORDS, max_tokens=6)


def embeddings(model: FrozenModel, text: str) -> torch.Tensor:
    ids = model.tokenizer.encode([text])[0]
    return model.embed(torch.tensor(ids)).detach().clone().requires_grad_(True)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(st.sampled_from([*WORDS, "naïve", "猫が", "🙂", "x" * 30]), min_size=1, max_size=8).map(
        " ".join
    )
)
def test_forward_is_the_targets_own_embedding_of_the_text(
    adapter: FuseAdapterModule, lm: FrozenModel, encoder: FrozenModel, text: str
) -> None:
    expected = encoder.embed(torch.tensor(encoder.tokenizer.encode([text])[0]))
    assert torch.equal(adapter(embeddings(lm, text), text), expected)


def test_backward_is_the_product_with_the_t_transpose_of_each_words_map(
    adapter: FuseAdapterModule, lm: FrozenModel, encoder: FrozenModel
) -> None:
    source = embeddings(lm, TEXT)
    target = adapter(source, TEXT)
    gradient = torch.randn(target.shape)
    target.backward(gradient)
    checked = set()
    for word in adapter.align([TEXT]).words:
        key = (word.target_count,)
        if key not in adapter.keys or adapter.map(key).shape[-1] < word.source_count:
            continue
        fitted = adapter.map(key)
        padded = torch.zeros(1, encoder.embedding_size, fitted.shape[-1])
        padded[0, :, : word.target_count] = gradient[word.target_start : word.target_stop].T
        expected = t_product(padded, t_transpose(fitted))[0, :, : word.source_count].T
        torch.testing.assert_close(source.grad[word.source_start : word.source_stop], expected)
        checked.add((word.source_count, word.target_count))
    assert len(checked) >= 3


def test_pullback_is_the_adjoint_of_the_map(adapter: FuseAdapterModule, lm: FrozenModel) -> None:
    alignment = adapter.align([TEXT])
    gradient = torch.randn(1, alignment.target_ids.shape[1], adapter.target.embedding_size)
    direction = torch.randn(1, alignment.source_length, lm.embedding_size)
    pushed = torch.zeros_like(gradient)
    for word in alignment.words:
        choice = adapter._choice(word)
        (fitted,) = adapter._map_of(choice, gradient)
        padded = torch.zeros(1, lm.embedding_size, fitted.shape[-1])
        padded[0, :, : word.source_count] = direction[0, word.source_start : word.source_stop].T
        mapped = t_product(padded, fitted)[0, :, : word.target_count].T
        pushed[0, word.target_start : word.target_stop] = mapped
    pulled = adapter.pullback(gradient, alignment)
    torch.testing.assert_close((pulled * direction).sum(), (gradient * pushed).sum(), rtol=1e-4, atol=1e-4)


def test_each_word_gets_its_own_gradient_only(adapter: FuseAdapterModule) -> None:
    alignment = adapter.align([TEXT])
    full = torch.randn(1, alignment.target_ids.shape[1], adapter.target.embedding_size)
    for chosen in alignment.words:
        alone = torch.zeros_like(full)
        alone[:, chosen.target_start : chosen.target_stop] = full[:, chosen.target_start : chosen.target_stop]
        pulled = adapter.pullback(alone, alignment)[0]
        inside = slice(chosen.source_start, chosen.source_stop)
        torch.testing.assert_close(pulled[inside], adapter.pullback(full, alignment)[0][inside])
        assert pulled[: chosen.source_start].abs().sum() == 0
        assert pulled[chosen.source_stop :].abs().sum() == 0


def test_a_batch_is_its_rows(adapter: FuseAdapterModule) -> None:
    texts = [TEXT, "A cat.", "Two children are playing"]
    alignment = adapter.align(texts)
    gradient = torch.randn(*alignment.target_ids.shape, adapter.target.embedding_size)
    together = adapter.pullback(gradient, alignment)
    for row, text in enumerate(texts):
        single = adapter.align([text])
        length = single.target_ids.shape[1]
        alone = adapter.pullback(gradient[row : row + 1, :length], single)
        torch.testing.assert_close(together[row, : single.source_length], alone[0])


def test_fit_is_pseudoinverse_times_target_words(lm: FrozenModel, encoder: FrozenModel) -> None:
    config = FuseAdapterModule.fit(lm, encoder, WORDS, max_tokens=3).settings
    groups = group_words(lm, encoder, WORDS, config)
    for key, fitted in fit_maps(lm, encoder, groups, config).items():
        depth = fitted.shape[-1]
        stacked = []
        for side, model in enumerate((lm, encoder)):
            rows = torch.zeros(len(groups[key]), model.embedding_size, depth, dtype=torch.float64)
            for row, pair in enumerate(groups[key]):
                rows[row, :, : len(pair[side])] = model.embed(torch.tensor(pair[side])).T.double()
            stacked.append(rows)
        expected = t_product(t_pinv(stacked[0], 1e-7), stacked[1]).float()
        torch.testing.assert_close(fitted, expected, rtol=1e-3, atol=1e-4)


def test_linear_spaces_give_the_true_gradient_where_the_tokenizer_is_shared(lm: FrozenModel) -> None:
    """Where the target's table is a linear image of the source's, the pullback is the chain rule itself."""
    other = tiny_gpt2()
    mixing = torch.randn(lm.embedding_size, lm.embedding_size) / lm.embedding_size**0.5
    other._embedding.weight.data = lm._embedding.weight.data @ mixing
    adapter = FuseAdapterModule.fit(lm, other, WORDS)
    assert adapter.shared_tokenizer
    torch.testing.assert_close(adapter.map((1,))[..., 0], mixing, rtol=1e-3, atol=1e-3)
    through_map, exact = embeddings(lm, TEXT), embeddings(lm, TEXT)
    weights = torch.randn(other.embedding_size)
    (adapter(through_map, TEXT) @ weights).tanh().sum().backward()
    (exact @ mixing @ weights).tanh().sum().backward()
    torch.testing.assert_close(through_map.grad, exact.grad, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(adapter.transfer(exact), exact @ mixing, rtol=1e-2, atol=1e-2)


def test_pairs_of_counts_have_maps_of_their_own(lm: FrozenModel, encoder: FrozenModel) -> None:
    adapter = FuseAdapterModule.fit(lm, encoder, WORDS, max_tokens=4, group_by="pair")
    pairs = [key for key in adapter.keys if len(key) == 2]
    assert pairs
    assert all(adapter.map(key).shape[-1] == max(key) for key in pairs)
    alignment = adapter.align([TEXT])
    gradient = torch.randn(*alignment.target_ids.shape, encoder.embedding_size)
    assert adapter.pullback(gradient, alignment).isfinite().all()


def counted(source: int, target: int) -> WordPair:
    """A word of these token counts."""
    return WordPair(0, 0, source, 0, target)


def test_a_pair_of_counts_that_no_word_has_takes_the_map_of_its_target_count(
    lm: FrozenModel, encoder: FrozenModel
) -> None:
    words = [
        word
        for word, s, t in zip(
            WORDS, lm.tokenizer.word_ids(WORDS), encoder.tokenizer.word_ids(WORDS), strict=True
        )
        if (len(s), len(t)) in ((1, 1), (2, 2))
    ]
    adapter = FuseAdapterModule.fit(lm, encoder, words, max_tokens=3, group_by="pair")
    assert set(adapter.keys) == {(1, 1), (2, 2), (1,), (2,)}
    for source, target in product((1, 2, 3), (1, 2)):
        chosen = adapter._choice(counted(source, target))
        assert chosen == ((source, target) if (source, target) in adapter.keys else (target,))
        assert adapter.map(chosen).shape[-1] >= max(source, target)
    assert adapter._choice(counted(4, 1)) == 4, "beyond l"
    assert adapter._choice(counted(1, 4)) == 4, "beyond l"
    alignment = Alignment(torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1).bool(), 2, (counted(2, 1),))
    gradient = torch.randn(1, 1, encoder.embedding_size)
    fitted = adapter.map((1,))
    expected = torch.stack([gradient[0, 0] @ fitted[..., -token % 3].T for token in (0, 1)])
    torch.testing.assert_close(adapter.pullback(gradient, alignment)[0], expected)


def test_the_maps_of_pairs_are_those_without_a_fallback(lm: FrozenModel, encoder: FrozenModel) -> None:
    adapter = FuseAdapterModule.fit(lm, encoder, WORDS, max_tokens=4, group_by="pair")
    groups = group_words(lm, encoder, WORDS, adapter.settings)
    alone = {key: words for key, words in groups.items() if len(key) == 2}
    for key, fitted in fit_maps(lm, encoder, alone, adapter.settings).items():
        assert torch.equal(adapter.map(key), fitted)


def test_truncate_source_fits_a_word_on_as_many_source_as_target_tokens(
    lm: FrozenModel, encoder: FrozenModel
) -> None:
    both = zip(WORDS, lm.tokenizer.word_ids(WORDS), encoder.tokenizer.word_ids(WORDS), strict=True)
    word, source_ids = next((word, s) for word, s, t in both if (len(s), len(t)) == (3, 2))
    groups = {}
    for compat in ("paper", "truncate_source"):
        settings = FuseAdapterModule.fit(lm, encoder, WORDS, compat=compat).settings
        groups[compat] = group_words(lm, encoder, [word], settings)
    ((whole, target_ids),) = groups["paper"][(2,)]
    assert whole == tuple(source_ids)
    assert groups["truncate_source"] == {(2,): [(whole[:2], target_ids)]}
    cut, uncut = (FuseAdapterModule.fit(lm, encoder, WORDS, compat=c) for c in ("truncate_source", "paper"))
    assert {key: cut.map(key).shape[-1] for key in cut.keys} == {key: key[0] for key in cut.keys}
    assert max(uncut.map(key).shape[-1] - key[0] for key in uncut.keys) > 0
    alignment = Alignment(torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2).bool(), 3, (counted(3, 2),))
    pulled = cut.pullback(torch.randn(1, 2, encoder.embedding_size), alignment)[0]
    assert pulled[:2].abs().sum(1).gt(0).all()
    assert pulled[2].abs().sum() == 0, "what the fit never saw gets no gradient"


def test_a_source_word_longer_than_l_is_fitted_where_it_is_cut(lm: FrozenModel, encoder: FrozenModel) -> None:
    both = zip(WORDS, lm.tokenizer.word_ids(WORDS), encoder.tokenizer.word_ids(WORDS), strict=True)
    word = next(word for word, s, t in both if len(s) > 2 and len(t) == 2)
    cut = FuseAdapterModule.fit(lm, encoder, [word], max_tokens=2, compat=["truncate_source"])
    assert cut.keys == ((2,),)
    with pytest.raises(UsageError, match="no word of the corpus has 1 to 2 tokens in both"):
        FuseAdapterModule.fit(lm, encoder, [word], max_tokens=2)


@pytest.mark.parametrize("kind", [FuseAdapterModule, RandomMap])
def test_a_random_map_is_drawn_once_for_a_depth_and_a_dtype(
    kind: type[EmbeddingMap], lm: FrozenModel, encoder: FrozenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def counting(sizes: tuple[int, int], depth: int, std: float, seed: int) -> torch.Tensor:
        drawn.append(depth)
        return random_tensor_map(sizes, depth, std, seed)

    monkeypatch.setattr(pull, "random_tensor_map", counting)
    settings = {"max_tokens": 1} if kind is FuseAdapterModule else {}
    embedding_map = kind.fit(lm, encoder, WORDS, **settings)
    alignment = embedding_map.align(["surfboard" * 4])
    gradient = torch.randn(*alignment.target_ids.shape, encoder.embedding_size)
    first, again = (embedding_map.pullback(gradient, alignment) for _ in range(2))
    assert torch.equal(first, again)
    assert len(drawn) == 1
    embedding_map.pullback(gradient.double(), alignment)
    assert len(drawn) == 2
    assert not any(name.startswith("_") for name in embedding_map.state_dict())


def test_random_maps_are_kept_on_the_device_that_asks() -> None:
    maps = RandomMaps((3, 2), 1.0, 0)
    here, there = (maps.like(2, torch.empty(0, device=device)) for device in ("cpu", "meta"))
    assert (here.device.type, there.device.type) == ("cpu", "meta")
    assert maps.like(2, torch.empty(0, device="meta")) is there


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4])
def test_max_tokens_bounds_the_fitted_lengths(lm: FrozenModel, encoder: FrozenModel, max_tokens: int) -> None:
    adapter = FuseAdapterModule.fit(lm, encoder, WORDS, max_tokens=max_tokens)
    assert max(adapter.keys) <= (max_tokens,)
    assert all(adapter.map(key).shape[-1] <= max_tokens for key in adapter.keys)


def test_longer_words_get_a_seeded_random_map_or_none(lm: FrozenModel, encoder: FrozenModel) -> None:
    def pulled(**more: object) -> torch.Tensor:
        adapter = FuseAdapterModule.fit(lm, encoder, WORDS, max_tokens=1, **more)
        alignment = adapter.align(["surfboard" * 4])
        ones = torch.ones(*alignment.target_ids.shape, encoder.embedding_size)
        return adapter.pullback(ones, alignment)

    assert pulled().abs().sum() > 0
    assert torch.equal(pulled(), pulled())
    assert not torch.equal(pulled(), pulled(seed=1))
    assert pulled(beyond="zero").abs().sum() == 0


def test_released_behaviour_differs_from_the_paper_where_it_should(
    adapter: FuseAdapterModule, lm: FrozenModel, encoder: FrozenModel
) -> None:
    def pulled(compat: object) -> tuple[torch.Tensor, tuple[WordPair, ...]]:
        variant = FuseAdapterModule(
            lm,
            encoder,
            {key: (adapter.map(key),) for key in adapter.keys},
            replace(adapter.settings, compat=compat),
        )
        alignment = variant.align([TEXT])
        generator = torch.Generator().manual_seed(0)
        gradient = torch.randn(*alignment.target_ids.shape, encoder.embedding_size, generator=generator)
        return variant.pullback(gradient, alignment)[0], alignment.words

    paper, words = pulled("paper")
    permuted = pulled("permute")[0]
    for word in words:
        inside = slice(word.source_start, word.source_stop)
        # One token on both sides only meets the first face, which both transposes leave in place.
        same = torch.allclose(paper[inside], permuted[inside], atol=1e-5)
        assert same == (word.source_count == word.target_count == 1), word
    first = pulled("first_token_gradient")[0]
    inside = slice(words[0].source_start, words[0].source_stop)
    if words[0].source_count == words[0].target_count:
        torch.testing.assert_close(first[inside], paper[inside])
    assert not torch.allclose(first, paper)
    assert not torch.allclose(pulled("source_count_lookup")[0], paper)
    assert replace(adapter.settings, compat="released").compat == tuple(
        sorted(
            ("permute", "first_token_gradient", "source_count_lookup", "lowercase_words", "truncate_source")
        )
    )


def test_saved_maps_are_found_by_every_input_of_the_fit(
    tmp_path: Path, lm: FrozenModel, encoder: FrozenModel
) -> None:
    def files() -> set[str]:
        return {path.name for path in tmp_path.rglob("*.safetensors")}

    def fit(source: FrozenModel = lm, words: tuple[str, ...] = WORDS, **more: object) -> FuseAdapterModule:
        return FuseAdapterModule.fit(source, encoder, words, cache_dir=tmp_path, **more)

    first = fit()
    (name,) = files()
    again = fit()
    assert files() == {name}
    assert all(torch.equal(first.map(key), again.map(key)) for key in first.keys)
    fit(beyond="zero", compat="permute")
    assert files() == {name}, "settings of the pullback alone need no other fit"
    namesake = tiny_gpt2()
    namesake._embedding.weight.data += 0.1
    assert namesake.name == lm.name
    variants = [{"max_tokens": 2}, {"seed": 1}, {"ridge": 0.1}, {"words": WORDS[::-1]}, {"source": namesake}]
    variants += [
        {"group_by": "pair"},
        {"words_per_length": 5},
        {"dtype": "float32"},
        {"storage": "float16"},
        {"rank": 4},
        {"share_above": 1},
        {"selection": "frequent"},
        {"compat": "lowercase_words"},
        {"compat": "truncate_source"},
    ]
    for count, variant in enumerate(variants, start=2):
        fit(**variant)
        assert len(files()) == count, variant


def test_a_damaged_file_is_fitted_again(tmp_path: Path, lm: FrozenModel, encoder: FrozenModel) -> None:
    first = FuseAdapterModule.fit(lm, encoder, WORDS, cache_dir=tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    again = FuseAdapterModule.fit(lm, encoder, WORDS, cache_dir=tmp_path)
    assert all(torch.equal(first.map(key), again.map(key)) for key in first.keys)
    FuseAdapterModule.load(path, lm, encoder)


def test_maps_of_other_weights_are_refused_whatever_their_names(
    tmp_path: Path, adapter: FuseAdapterModule, lm: FrozenModel, encoder: FrozenModel
) -> None:
    adapter.save(tmp_path / "adapter.safetensors")
    loaded = FuseAdapterModule.load(tmp_path / "adapter.safetensors", lm, encoder)
    assert loaded.settings == adapter.settings
    cut = FuseAdapterModule.fit(lm, encoder, WORDS, compat=["truncate_source", "lowercase_words"])
    cut.save(tmp_path / "cut.safetensors")
    assert FuseAdapterModule.load(tmp_path / "cut.safetensors", lm, encoder).settings == cut.settings
    namesake = tiny_gpt2()
    namesake._embedding.weight.data += 0.1
    with pytest.raises(UsageError, match="another source model"):
        FuseAdapterModule.load(tmp_path / "adapter.safetensors", namesake, encoder)
    with pytest.raises(UsageError, match="is not an adapter"):
        FuseAdapterModule.load(tmp_path / "missing.safetensors", lm, encoder)


def test_scaled_embeddings_are_fitted_as_the_model_receives_them(encoder: FrozenModel) -> None:
    gemma = tiny_gemma3()
    fitted = FuseAdapterModule.fit(gemma, encoder, WORDS).map((1,))
    ratio = gemma.embedding_table().norm() / gemma._embedding.weight[: gemma.tokenizer.vocab_size].norm()
    assert ratio > 1.5
    assert fitted.isfinite().all()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_tokens": 0}, r"adapter\.max_tokens=0 is not allowed: a whole number of at least 1"),
        ({"max_tokens": 1.5}, r"adapter\.max_tokens"),
        ({"words_per_length": 0}, r"adapter\.words_per_length"),
        ({"ridge": -1.0}, r"adapter\.ridge"),
        ({"group_by": "source"}, r"adapter\.group_by.*target, pair"),
        ({"beyond": "identity"}, r"adapter\.beyond"),
        ({"compat": ["permut"]}, r"adapter\.compat.*permute"),
        ({"dtype": "int8"}, r"adapter\.dtype"),
        ({"storage": "int8"}, r"adapter\.storage.*float16"),
        ({"rank": 0}, r"adapter\.rank=0 is not allowed: at least 1"),
        ({"share_above": 4}, r"adapter\.share_above=4 is not allowed: 1 to 3"),
        ({"share_above": 2, "group_by": "pair"}, r"adapter\.share_above.*group_by=target"),
    ],
)
def test_settings_out_of_range(setting: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FuseAdapterModule.check(**setting)


def test_words_and_shapes_that_cannot_be_used(
    adapter: FuseAdapterModule, lm: FrozenModel, encoder: FrozenModel
) -> None:
    with pytest.raises(UsageError, match="no word of the corpus has 1 to 1 tokens in both"):
        FuseAdapterModule.fit(lm, encoder, ["surfboard" * 5], max_tokens=1)
    with pytest.raises(UsageError, match="embeddings have shape"):
        adapter(embeddings(lm, TEXT)[:-1], TEXT)
    with pytest.raises(UsageError, match="shared_tokenizer=true, but"):
        FuseAdapterModule.fit(lm, encoder, WORDS, shared_tokenizer=True)
