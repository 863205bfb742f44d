"""models_dir: every model of a config from one folder, also those that are part of another."""

from pathlib import Path

from composed import composed

from fuse_repro.runners.local_models import with_models_dir


def test_every_model_is_read_from_the_folder(tmp_path: Path) -> None:
    config = composed("experiment=caption_sentiment", f"models_dir={tmp_path}")
    before = config.models.lm.source
    models = with_models_dir(config).models
    assert (models.lm.source, models.lm.path) == ("path", str(tmp_path / "smollm2_135m"))
    assert models.vision.path == str(tmp_path / "conse_efficientnet_minilm")
    assert models.vision.text.path == str(tmp_path / "minilm")
    assert "source" not in models.sentiment
    assert models.sentiment.text.path == str(tmp_path / "minilm")
    assert config.models.lm.source == before
    config.models_dir = None
    assert with_models_dir(config) is config
