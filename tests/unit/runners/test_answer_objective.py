"""The packaged objective of answers: one term per model, the primary model's own with the identity for a map."""

from pathlib import Path

from omegaconf import OmegaConf
from tiny_models import tiny_gemma3, tiny_gpt2

import fuse_repro
from fuse_repro.adapters import IdentityMap, LookupMap
from fuse_repro.runners.objective import build_objective

NODE = Path(fuse_repro.__file__).parents[1] / "conf" / "objective" / "answers.yaml"


def test_every_model_has_a_term_and_a_map() -> None:
    lm, other = tiny_gpt2(), tiny_gemma3()
    node = OmegaConf.load(NODE)
    node.answer.model = ["lm", "other"]
    node.answer.weight = [1.0, 0.5]
    objective = build_objective(node, {"lm": lm, "other": other}, {"other": LookupMap.fit(lm, other, ())})
    assert objective.weights == {"fluency": 0.1, "answer_lm": 1.0, "answer_other": 0.5}
    own = objective.terms["answer_lm"].adapter
    assert isinstance(own, IdentityMap)
    assert (own.source, own.target) == (lm, lm)
    assert isinstance(objective.terms["answer_other"].adapter, LookupMap)
    assert not hasattr(objective.terms["fluency"], "adapter")
