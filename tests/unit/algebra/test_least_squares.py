"""Normal equations in double precision, from matrices known in single precision."""

import torch

from fuse_repro.algebra.least_squares import refined, solve_gram


def test_refinement_reaches_double_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(3, 40, 12, generator=generator, dtype=torch.float64)
    grams, right = anchors.mT @ anchors, torch.randn(3, 12, generator=generator, dtype=torch.float64)
    for ridge in (0.0, 0.1):
        lift = ridge * grams.diagonal(dim1=1, dim2=2).mean(1)[:, None]
        found = refined(
            grams.float(), lambda v, lift=lift: (grams @ v[..., None])[..., 0] + lift * v, right, ridge
        )
        expected = torch.stack([solve_gram(gram, row, ridge) for gram, row in zip(grams, right, strict=True)])
        assert found is not None
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_a_matrix_that_single_precision_cannot_tell_from_a_singular_one_is_left_to_others() -> None:
    generator = torch.Generator().manual_seed(0)
    for smallest in (0.0, 1e-4):
        basis = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
        scales = torch.tensor([1.0, 1, 1, 1, 1, smallest], dtype=torch.float64)
        gram = (basis * scales**2) @ basis.T
        right = gram @ torch.ones(6, dtype=torch.float64)
        assert refined(gram.float()[None], lambda v, gram=gram: v @ gram, right[None]) is None
