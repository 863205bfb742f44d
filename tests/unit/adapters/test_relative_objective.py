"""One relative-match term per source, each [B]."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from fuse_repro.adapters.relative.objective import RelativeBatch, RelativeMatchTerm, matching_objective
from fuse_repro.errors import UsageError

ROWS, ANCHORS = 4, 30


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference, encoding = (torch.randn(ROWS, ANCHORS, generator=generator).double() for _ in range(2))
    return reference, encoding, torch.rand(ROWS, ANCHORS, generator=generator) < 0.5


def test_it_is_the_cosine_distance_of_the_masked_representations() -> None:
    reference, encoding, mask = example()
    expected = 1 - cosine_similarity(reference * mask, encoding * mask)
    torch.testing.assert_close(RelativeMatchTerm(reference, mask)(RelativeBatch(encoding)), expected)


def test_what_the_mask_leaves_out_does_not_count_and_neither_does_scale() -> None:
    reference, encoding, mask = example()
    values = RelativeMatchTerm(reference, mask)(RelativeBatch(encoding))
    other = torch.where(mask, 3 * encoding, torch.full_like(encoding, 7.0))
    torch.testing.assert_close(RelativeMatchTerm(0.1 * reference, mask)(RelativeBatch(other)), values)
    assert not torch.allclose(RelativeMatchTerm(reference, ~mask)(RelativeBatch(encoding)), values)


def test_equal_representations_are_at_zero_and_opposite_ones_at_two() -> None:
    reference, _, mask = example()
    term = RelativeMatchTerm(reference, mask)
    torch.testing.assert_close(term(RelativeBatch(5 * reference)), torch.zeros(ROWS).double())
    torch.testing.assert_close(term(RelativeBatch(-reference)), torch.full((ROWS,), 2.0).double())


def test_rows_do_not_depend_on_each_other() -> None:
    reference, encoding, mask = example()
    together = RelativeMatchTerm(reference, mask)(RelativeBatch(encoding))
    for row in range(ROWS):
        part = slice(row, row + 1)
        alone = RelativeMatchTerm(reference[part], mask[part])(RelativeBatch(encoding[part]))
        torch.testing.assert_close(alone[0], together[row])


def test_several_sources_are_weighted_terms_of_the_shared_loss() -> None:
    first, encoding, mask = example()
    second = example(1)[0]
    objective = matching_objective({"a": first, "b": second}, mask, {"a": 1.0, "b": 0.25})
    values = objective(RelativeBatch(encoding))
    a, b = (RelativeMatchTerm(r, mask)(RelativeBatch(encoding)) for r in (first, second))
    torch.testing.assert_close(values.total, a + 0.25 * b)
    torch.testing.assert_close(values.raw["b"], b)


def test_its_gradient_is_right() -> None:
    reference, encoding, mask = example()
    term = RelativeMatchTerm(reference, mask)
    encoding.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda r: term(RelativeBatch(r)), encoding)


def test_shapes_that_do_not_fit() -> None:
    reference, encoding, mask = example()
    with pytest.raises(UsageError, match=r"reference and mask shapes.*the same"):
        RelativeMatchTerm(reference[:, 1:], mask)
    with pytest.raises(UsageError, match=r"encoding shape=\(3, 30\).*\(4, 30\)"):
        RelativeMatchTerm(reference, mask)(RelativeBatch(encoding[1:]))
