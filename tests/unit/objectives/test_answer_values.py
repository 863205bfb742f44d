"""The answer term's values: as whole texts give them, however much is read together or only once."""

import pytest
import torch
from answer_checks import CHAT, FACTS, PROMPTS, plain_nll, plain_term
from tiny_masked_lms import tiny_lm
from tiny_models import tiny_gemma3, tiny_gpt2, tiny_llama, tiny_opt
from tiny_tokenizers import byte_level_bpe

from fuse_repro.data.prompt_task import Item
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.models.metering import metering
from fuse_repro.objectives import AnswerTerm, PromptBatch

CAUSAL = [tiny_gpt2, tiny_llama, tiny_gemma3, tiny_opt]
TEMPLATES = [
    "[X] {prompt} [Y]",
    "{prompt} [X] [Y]",
    "[X] {prompt} is [Y]",
    "The [X] and {prompt}\n[Y]",
    "{prompt}\n[X] is [Y]",
]


def value(term: AnswerTerm, prompts=PROMPTS, items=FACTS, answers=None) -> torch.Tensor:
    return term(PromptBatch(prompts, {term.name: term.target(items, answers)}))


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("make", CAUSAL)
def test_the_value_is_that_of_whole_texts(make, template: str) -> None:
    lm = make()
    term = AnswerTerm("answer", lm, template=template)
    expected = plain_term(lm, template, PROMPTS, FACTS)
    torch.testing.assert_close(value(term), expected, atol=1e-5, rtol=1e-5)
    assert expected.unique().numel() == len(PROMPTS)


@pytest.mark.parametrize(
    "template", ["[X] {prompt} [Y] .", "{prompt} [X] [Y]", "[Y] is what {prompt} [X] .", "A [Y] [X] {prompt}"]
)
@pytest.mark.parametrize("architecture", ["bert", "roberta", "albert", "distilbert"])
def test_masked_models_read_what_follows_and_fill_all_masks_at_once(architecture: str, template: str) -> None:
    lm = tiny_lm(architecture)
    items = FACTS[:3]  # one that every tokenizer here can write
    term = AnswerTerm("answer", lm, template=template)
    expected = plain_term(lm, template, PROMPTS, items)
    torch.testing.assert_close(value(term, items=items), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("make", CAUSAL)
def test_many_together_are_each_alone_and_what_is_read_once_is_read_right(make, template: str) -> None:
    lm = make()
    term = AnswerTerm("answer", lm, template=template)
    together = value(term)
    alone = [torch.stack([value(term, (prompt,), (item,))[0] for item in FACTS]).mean() for prompt in PROMPTS]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-5)
    again = AnswerTerm("answer", lm, template=template, share=False)
    torch.testing.assert_close(together, value(again), atol=1e-5, rtol=1e-5)


def test_a_model_of_states_has_nothing_to_share_and_the_same_value() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    tokenizer = byte_level_bpe()
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, state_size=4)
    lm = CausalLM(MambaForCausalLM(config), tokenizer, name="tiny_mamba")
    term = AnswerTerm("answer", lm)
    assert term.target(FACTS).memory is None
    expected = plain_term(lm, "[X] {prompt} [Y]", PROMPTS, FACTS)
    torch.testing.assert_close(value(term), expected, atol=1e-5, rtol=1e-5)


def test_prompts_that_begin_alike_are_read_once_and_metered_so() -> None:
    lm = tiny_llama()
    prompts = tuple(f" in the city of {word}" for word in ("a", "dog", "train", "bridge", "cat", "the"))
    shared, apart = (AnswerTerm("answer", lm, share=share) for share in (True, False))
    targets = {"answer": shared.target(FACTS)}
    costs = []
    for term in (shared, apart):
        with metering() as meter:
            term(PromptBatch(prompts, targets))
        costs.append(meter.tokens[lm.name])
    assert costs[0] < costs[1] / 2


def test_prompts_that_stand_first_are_read_once_for_all_examples() -> None:
    lm, prompts = tiny_llama(), ("the dog runs", "a cat", "in town")
    term = AnswerTerm("answer", lm, template="{prompt} [X] [Y]")
    target = term.target(FACTS)
    with metering() as meter:
        term(PromptBatch(prompts, {"answer": target}))
    examples = zip(target.pieces, target.answers, strict=True)
    rows = sum(len(between) + len(answer) - 1 for (_, between, _), answer in examples)
    assert meter.tokens[lm.name] == sum(map(len, lm.tokenizer.encode(prompts))) + len(prompts) * rows


def test_what_stands_before_the_prompt_is_read_when_the_target_is_made() -> None:
    lm = tiny_llama()
    term = AnswerTerm("answer", lm)
    with metering() as meter:
        target = term.target(FACTS)
    before = sum(len(pieces[0]) for pieces in target.pieces)
    assert meter.tokens[lm.name] == before
    with metering() as meter:
        term(PromptBatch((" a",), {"answer": target}))
    assert meter.tokens[lm.name] == sum(1 + len(ids) - 1 for ids in target.answers)


def test_only_answers_have_logits() -> None:
    lm = tiny_llama()
    term = AnswerTerm("answer", lm)
    target = term.target(FACTS)
    seen = []
    lm._head.register_forward_hook(lambda head, given, output: seen.append(given[0].shape[:2].numel()))
    term(PromptBatch(PROMPTS, {"answer": target}))
    assert sum(seen) == len(PROMPTS) * sum(map(len, target.answers))


@pytest.mark.parametrize("make", [tiny_gpt2, lambda: tiny_lm("bert")])
def test_answers_may_compete_among_themselves(make) -> None:
    lm = make()
    items = (Item("The capital of France", "a"), Item("A dog", "the"), Item("What", "in"))
    words = ("the", "a", "in", "of")
    term = AnswerTerm("answer", lm, template="[X] {prompt} [Y]", candidates="answers")
    found = value(term, items=items, answers=words)
    ids = {word: lm.tokenizer.word_ids([word])[0] for word in words}
    assert all(len(pieces) == 1 for pieces in ids.values())
    expected = []
    for prompt in PROMPTS:
        each = []
        for item in items:
            logs = torch.stack(
                [-plain_nll(lm, "[X] {prompt} [Y]", prompt, Item(item.text, w)) for w in words]
            )
            each.append(-logs.log_softmax(0)[words.index(item.answer)])
        expected.append(torch.stack(each).mean())
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=1e-4)
    assert (found <= value(AnswerTerm("answer", lm), items=items)).all()
    own = value(term, items=items)  # the examples' own answers
    assert (own <= found).all()


def test_a_fixed_target_is_one_example_without_a_text() -> None:
    lm = tiny_gpt2()
    term = AnswerTerm("answer", lm, template="{prompt} [Y]")
    item = Item("", "the dog runs over the bridge")
    expected = plain_term(lm, "{prompt} [Y]", PROMPTS, (item,))
    torch.testing.assert_close(value(term, items=(item,)), expected, atol=1e-5, rtol=1e-5)
    several = (item, Item("", "a cat"))  # nothing stands between the prompt and an answer
    expected = plain_term(lm, "{prompt} [Y]", PROMPTS, several)
    torch.testing.assert_close(value(term, items=several), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("template", ["[X] {prompt} [Y]", "{prompt} [X] [Y]", "Say: [X] {prompt}. [Y]"])
@pytest.mark.parametrize("make", [tiny_gpt2, tiny_gemma3])
def test_a_chat_template_writes_all_that_stands_before_the_answer(make, template: str) -> None:
    lm = make()
    lm.tokenizer.tokenizer.chat_template = CHAT
    term = AnswerTerm("answer", lm, template=template, chat=True)
    written = f"<|user|>\n{template.removesuffix(' [Y]')}<|end|>\n<|assistant|>\n[Y]"
    prompts = tuple(prompt.strip() for prompt in PROMPTS)
    found = value(term, prompts, FACTS)
    each = [
        torch.stack([plain_nll(lm, written, prompt, item, special=False) for item in FACTS]).mean()
        for prompt in prompts
    ]
    torch.testing.assert_close(found, torch.stack(each), atol=1e-5, rtol=1e-5)


def test_a_space_before_a_prompt_is_the_templates() -> None:
    for lm in (tiny_gpt2(), tiny_gemma3(), tiny_lm("bert")):
        term = AnswerTerm("answer", lm)
        spaced, bare = (value(term, tuple(prompts)) for prompts in (PROMPTS, map(str.strip, PROMPTS)))
        assert torch.equal(spaced, bare)


def test_an_empty_prompt_leaves_the_template_alone() -> None:
    for lm in (tiny_gpt2(), tiny_gemma3(), tiny_lm("roberta")):
        term = AnswerTerm("answer", lm)
        found = value(term, ("", " in"))
        expected = torch.stack([plain_nll(lm, "[X]{prompt} [Y]", "", item) for item in FACTS]).mean()
        torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)
