"""From a node of conf/adapter to the fit of a map: what it gives, and that mistakes are one line before any model."""

import pytest
import torch
from omegaconf import DictConfig
from tiny_tables import table_model

from fuse_repro.adapters import LinearMap, RelativePromptTransfer, RidgeMap
from fuse_repro.errors import UsageError
from fuse_repro.runners.build import blamed, build_fit, map_class


class Bare:
    """A map with a fit and nothing else."""

    @classmethod
    def fit(cls, source: object, target: object, words: object, cache_dir: object = None, scale: float = 1.0):
        return LinearMap(source, target, scale * torch.eye(4))


def bare_fit(source: object, target: object, words: object, *, cache_dir: object = None) -> LinearMap:
    return LinearMap(source, target, torch.eye(4))


def node(target: str, **settings: object) -> DictConfig:
    return DictConfig({"_target_": target, "_partial_": True, **settings})


def test_a_part_s_own_key_is_kept_under_the_node_s() -> None:
    for given, wanted in (
        ("adapter.candidates.b.width", "methods.auto.candidates.b.width"),
        ("adapter.width", "methods.auto.width"),
        ("width", "methods.auto.width"),
    ):
        assert str(blamed(UsageError(f"{given}=0 is bad"), "methods.auto")) == f"{wanted}=0 is bad"


def test_it_fits_the_map_that_the_node_names() -> None:
    models = table_model("byte_level_bpe", 4), table_model("metaspace_bpe", 4)
    fit = build_fit(node("fuse_repro.adapters.RidgeMap.fit", ridge=0.5))
    assert map_class(fit) is RidgeMap
    assert torch.equal(fit(*models, ()).weight, RidgeMap.fit(*models, ridge=0.5).weight)
    assert not RidgeMap.takes_several
    assert RelativePromptTransfer.takes_several


def test_a_map_of_ones_own_may_have_only_a_fit() -> None:
    models = table_model("byte_level_bpe", 4), table_model("metaspace_bpe", 4)
    for target, settings, scale in ((Bare, {"scale": 2.0}, 2.0), (None, {}, 1.0)):
        name = f"{__name__}.{'bare_fit' if target is None else 'Bare.fit'}"
        fit = build_fit(node(name, **settings))
        assert torch.equal(fit(*models, (), cache_dir=None).weight, scale * torch.eye(4))


@pytest.mark.parametrize(
    ("target", "setting", "message"),
    [
        (
            "RelativePromptTransfer",
            {"k": 0},
            "^adapter.k=0 is not allowed: a whole number from 1 on, or null",
        ),
        ("RelativePromptTransfer", {"anchor_selection": "rare"}, "^adapter.anchor_selection='rare'"),
        ("RidgeMap", {"ridge": -1}, "^adapter.ridge=-1 is not allowed"),
        ("ProcrustesMap", {"anchors": 0}, "^adapter.anchors=0 is not allowed"),
        ("ProjectorMap", {"anchors": 3}, "^adapter.anchors=3 is not allowed: null with anchor_selection=all"),
        ("ProjectorMap", {"epochs": 0}, "^adapter.epochs=0 is not allowed: at least 1"),
        ("SparseMap", {"atoms": 0}, "^adapter.atoms=0 is not allowed: a whole number from 1 on"),
        ("SparseMap", {"ridge": -1}, "^adapter.ridge=-1 is not allowed"),
        ("SparseMap", {"anchor_selection": "rare"}, "^adapter.anchor_selection='rare'"),
        ("LocalMap", {"width": 0}, "^adapter.width=0 is not allowed: above 0"),
        ("LocalMap", {"noise": -0.1}, "^adapter.noise=-0.1 is not allowed"),
        ("LocalMap", {"noise_growth": -1}, "^adapter.noise_growth=-1 is not allowed"),
        ("LocalMap", {"neighbours": 0}, "^adapter.neighbours=0 is not allowed"),
        ("LocalMap", {"atoms": 4}, "^adapter.atoms is no setting of LocalMap"),
        ("FirstWords", {"first": 0, "of": None}, "^adapter.first=0 is not allowed: a whole number from 1 on"),
        (
            "FirstWords",
            {
                "first": 9,
                "of": {"_target_": "fuse_repro.adapters.TrainedMap.fit", "_partial_": True, "lr": 0},
            },
            "^adapter.of.lr=0 is not allowed: above 0",
        ),
        (
            "TrainedMap",
            {"architecture": "lstm"},
            "^adapter.architecture='lstm' is not allowed: one of transfo",
        ),
        ("TrainedMap", {"width": 130}, "^adapter.width=130 is not allowed: a multiple of adapter.heads=4"),
        ("TrainedMap", {"lr": 0}, "^adapter.lr=0 is not allowed: above 0"),
        ("TrainedMap", {"steps": 1.5}, "^adapter.steps=1.5 is not allowed: a whole number from 1 on"),
        ("TrainedMap", {"noise": -1}, "^adapter.noise=-1 is not allowed"),
        (
            "AutoMap",
            {"criterion": "dev"},
            "^adapter.criterion='dev' is not allowed: one of round_trip, words",
        ),
        ("AutoMap", {"candidates": {}}, "^adapter.candidates=.* is not allowed: two maps or more"),
        (
            "AutoMap",
            {
                "candidates": {
                    name: {"_target_": "fuse_repro.adapters.LocalMap.fit", "_partial_": True, "width": width}
                    for name, width in (("a", 1.0), ("b", 0.0))
                }
            },
            "^adapter.candidates.b.width=0.0 is not allowed: above 0",
        ),
        ("DiscretisedMap", {"several": "all"}, "^adapter.several='all' is not allowed: mean or first"),
        ("LookupMap", {"rank": 0}, "^adapter.rank=0 is not allowed"),
        ("FuseAdapterModule", {"max_tokens": 0}, "^adapter.max_tokens=0 is not allowed"),
        ("FuseAdapterModule", {"ridge": "much"}, "FuseAdapterModule.fit cannot fit a map with these values"),
        (
            "FuseAdapterModule",
            {"max_token": 2},
            "^adapter.max_token is no setting of .*which has max_tokens,",
        ),
        ("RandomMap", {"given": None}, "^adapter.given is no setting of .*which has seed$"),
        ("DirectMap", {"seed": 0}, "^adapter.seed is no setting of .*which has none$"),
        ("LinearMap", {"seed": 0}, "^adapter.seed is no setting of"),
    ],
)
def test_mistakes_are_one_line(target: str, setting: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build_fit(node(f"fuse_repro.adapters.{target}.fit", **setting))
    assert "\n" not in str(caught.value)


def test_what_is_no_fit_is_refused() -> None:
    for target in (f"{__name__}.Bare", f"{__name__}.Bare.fit"):
        with pytest.raises(UsageError, match="cannot fit a map with these values"):
            build_fit(node(target, length=3))
