import pytest
import torch
from tiny_tables import table_model

from fuse_repro.adapters.direct import DirectMap
from fuse_repro.errors import UsageError


def test_a_prompt_is_passed_on_as_it_is_and_so_is_a_gradient() -> None:
    embedding_map = DirectMap.fit(table_model("byte_level_bpe", 16), table_model("metaspace_bpe", 16), ())
    prompt = torch.randn(3, 16)
    assert torch.equal(embedding_map.transfer(prompt), prompt)
    alignment = embedding_map.align(["the dog"])
    gradient = torch.randn(1, alignment.target_ids.shape[1], 16)
    word = alignment.words[-1]
    pulled = embedding_map.pullback(gradient, alignment)[0, word.source_start]
    torch.testing.assert_close(pulled, gradient[0, word.target_start])


def test_unequal_sizes_and_nan_are_refused() -> None:
    source = table_model("byte_level_bpe", 16)
    with pytest.raises(UsageError, match=r"byte_level_bpe_16_0 has 16 and wordpiece_24_0 has 24"):
        DirectMap.fit(source, table_model("wordpiece", 24), ())
    with pytest.raises(UsageError, match="NaN"):
        DirectMap.fit(source, source, ()).transfer(torch.full((1, 16), float("nan")))
