"""A handful of the families that benchmarks/architectures.py walks through, each from load to a step."""

import pytest
from family_checks import CHECKS, check_family, load_family, save_family
from tiny_families import families

from fuse_repro.errors import UsageError

FAMILIES = [
    ("causal", "bloom"),
    ("causal", "gpt_neox"),
    ("causal", "mamba"),
    ("causal", "mpt"),
    ("causal", "qwen3"),
    ("masked", "deberta-v2"),
    ("masked", "modernbert"),
    ("masked", "mpnet"),
    ("encoder", "t5"),
    ("encoder", "xlm-roberta"),
    ("classifier", "llama"),
    ("image-text", "altclip"),
    ("image-text", "clipseg"),
]


@pytest.mark.parametrize(("kind", "family"), FAMILIES)
def test_a_family_from_load_to_a_step(kind, family, tmp_path):
    save_family(kind, family, tmp_path)
    model = load_family(kind, family, tmp_path)
    assert list(check_family(kind, model)) == list(CHECKS[kind])


def test_a_model_that_looks_ahead_is_no_causal_one(tmp_path):
    save_family("masked", "bert", tmp_path)
    with pytest.raises(UsageError, match=r"looks at the tokens that come after.*MaskedLM\.load"):
        load_family("causal", "bert", tmp_path)


def test_a_model_that_needs_a_second_text_is_refused_in_one_line(tmp_path):
    save_family("encoder", "bart", tmp_path)
    with pytest.raises(
        UsageError, match=r"tiny_bart: BartModel cannot be read from input embeddings"
    ) as caught:
        load_family("encoder", "bart", tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("docs/models.md lists the kinds that were tried")


def test_a_model_that_padding_changes_is_refused_in_one_line(tmp_path):
    save_family("encoder", "fnet", tmp_path)
    with pytest.raises(UsageError, match=r"tiny_fnet: FNetModel reads a text otherwise where padding stands"):
        load_family("encoder", "fnet", tmp_path)


@pytest.mark.parametrize(("family", "plain"), [("llama", True), ("bloom", False), ("mamba", False)])
def test_texts_are_read_ahead_where_the_memory_is_keys_and_values_at_positions(family, plain, tmp_path):
    save_family("causal", family, tmp_path)
    assert load_family("causal", family, tmp_path).keeps_plain_memory == plain


def test_the_kinds_have_the_families_that_people_use():
    assert {"llama", "gemma3_text", "mamba"} <= set(families("causal"))
    assert {"bert", "mpnet"} <= set(families("masked")) & set(families("encoder"))
    assert {"clip", "siglip", "altclip", "align"} <= set(families("image-text"))
