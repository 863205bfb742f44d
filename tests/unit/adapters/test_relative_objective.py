"""One relative-match term per source, each [B]."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from fuse_repro.adapters.relative.objective import RelativeMatchTerm, matching_objective
from fuse_repro.errors import UsageError
from fuse_repro.prompts.batch import SoftPromptBatch

ROWS, ANCHORS = 4, 30


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference, encoding = (torch.randn(ROWS, ANCHORS, generator=generator).double() for _ in range(2))
    return reference, encoding, torch.rand(ROWS, ANCHORS, generator=generator) < 0.5


def batch(encoding: torch.Tensor, mask: torch.Tensor, **references: torch.Tensor) -> SoftPromptBatch:
    """ROWS prompts of one vector each, so that every row has a value of its own."""
    units = {name: normalize(r * mask, dim=-1).unsqueeze(1) for name, r in references.items()}
    vectors = torch.zeros(len(encoding), 1, 2)
    return SoftPromptBatch(vectors, None, encoding.unsqueeze(1), mask.unsqueeze(1), units)


def match(reference: torch.Tensor, encoding: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[ROWS] distances."""
    values: torch.Tensor = RelativeMatchTerm("a")(batch(encoding, mask, a=reference))
    return values


def test_it_is_the_cosine_distance_of_the_masked_representations() -> None:
    reference, encoding, mask = example()
    expected = 1 - cosine_similarity(reference * mask, encoding * mask)
    torch.testing.assert_close(match(reference, encoding, mask), expected)


def test_what_the_mask_leaves_out_does_not_count_and_neither_does_scale() -> None:
    reference, encoding, mask = example()
    values = match(reference, encoding, mask)
    other = torch.where(mask, 3 * encoding, torch.full_like(encoding, 7.0))
    torch.testing.assert_close(match(0.1 * reference, other, mask), values)
    assert not torch.allclose(match(reference, encoding, ~mask), values)


def test_equal_representations_are_at_zero_and_opposite_ones_at_two() -> None:
    reference, _, mask = example()
    torch.testing.assert_close(match(reference, 5 * reference, mask), torch.zeros(ROWS).double())
    torch.testing.assert_close(match(reference, -reference, mask), torch.full((ROWS,), 2.0).double())


def test_rows_do_not_depend_on_each_other() -> None:
    reference, encoding, mask = example()
    together = match(reference, encoding, mask)
    for row in range(ROWS):
        part = slice(row, row + 1)
        alone = match(reference[part], encoding[part], mask[part])
        torch.testing.assert_close(alone[0], together[row])


def test_several_sources_are_weighted_terms_of_the_shared_loss() -> None:
    first, encoding, mask = example()
    second = example(1)[0]
    objective = matching_objective({"a": 1.0, "b": 0.25})
    values = objective(batch(encoding, mask, a=first, b=second))
    a, b = (match(r, encoding, mask) for r in (first, second))
    torch.testing.assert_close(values.total, a + 0.25 * b)
    torch.testing.assert_close(values.raw["b"], b)


def test_its_gradient_is_right() -> None:
    reference, encoding, mask = example()
    encoding.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda r: match(reference, r, mask), encoding)


def test_a_prompt_of_several_vectors_counts_their_mean() -> None:
    reference, encoding, mask = example()
    whole = SoftPromptBatch(
        torch.zeros(1, ROWS, 2), None, encoding[None], mask, {"a": normalize(reference * mask, dim=1)}
    )
    torch.testing.assert_close(
        RelativeMatchTerm("a")(whole), match(reference, encoding, mask).mean().unsqueeze(0)
    )


def test_shapes_that_do_not_fit() -> None:
    reference, encoding, mask = example()
    units = {"a": reference.unsqueeze(1)[:, :, 1:]}
    vectors = torch.zeros(ROWS, 1, 2)
    with pytest.raises(UsageError, match=r"encoding shape=\(1, 30\).*\(1, 30\)"):
        RelativeMatchTerm("a")(
            SoftPromptBatch(vectors, None, encoding.unsqueeze(1), mask.unsqueeze(1), units)
        )
    with pytest.raises(UsageError, match=r"encoding shape=\(1, 29\).*\(1, 30\)"):
        RelativeMatchTerm("a")(
            replace(batch(encoding, mask, a=reference), encoding=encoding.unsqueeze(1)[:, :, 1:])
        )
    with pytest.raises(UsageError, match=r"the term 'b' matches prompts that are moved"):
        RelativeMatchTerm("b")(batch(encoding, mask, a=reference))
