"""Keys and values that are kept: of texts, and of texts that go on from others."""

import pytest
import torch
from tiny_models import tiny_gemma3, tiny_gpt2, tiny_llama
from tiny_tokenizers import SENTENCES

from fuse_repro.models.keys_values import KeysValues, cache_bytes


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama, tiny_gemma3])
def test_texts_that_go_on_have_the_keys_and_values_of_whole_texts(make) -> None:
    lm = make()
    texts = [
        tuple(ids[:length]) for ids, length in zip(lm.tokenizer.encode(SENTENCES), (3, 7, 5, 3), strict=False)
    ]
    more = [(5, 9), (), (7,), (8, 6, 4), (4, 4)]
    numbers = [2, 1, 1, 0, 3]
    kept = KeysValues.of(lm, texts).continued(numbers, more)
    whole = KeysValues.of(lm, [(*texts[number], *ids) for number, ids in zip(numbers, more, strict=True)])
    assert kept.lengths == whole.lengths
    torch.testing.assert_close(kept.data, whole.data, atol=1e-4, rtol=1e-4)
    assert whole.data.numel() * whole.data.itemsize == cache_bytes(
        lm, [(0,) * length for length in whole.lengths]
    )


def test_what_is_read_behind_texts_is_read_as_with_them() -> None:
    lm = tiny_gpt2()
    texts = [tuple(ids[:4]) for ids in lm.tokenizer.encode(SENTENCES[:2])]
    kept = KeysValues.of(lm, texts)
    for number in (1, 0):
        tail = torch.tensor([[7, 9, 11]])
        found = lm.model(input_ids=tail, **kept.behind([number], 3)).logits
        whole = lm.model(input_ids=torch.tensor([[*texts[number], 7, 9, 11]])).logits[:, -3:]
        torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)
