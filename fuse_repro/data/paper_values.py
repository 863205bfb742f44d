"""What the two papers report, percent, and where: FUSE (arXiv 2408.04816), prompt transfer (arXiv 2310.01691).

A run names the cell that it reproduces by its config key `paper_cell`, such as "fuse/coco" or
"transfer/bert_base/roberta_large"; a cell holds one value for every metric or method of such a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FUSE, TRANSFER = "FUSE", "Prompt transfer"


@dataclass(frozen=True)
class PaperCell:
    """One cell of a paper's table.

    Attributes:
        source: paper and table.
        values: metric or method, as this project names it -> percent.
    """

    source: str
    values: Mapping[str, float]


MODELS = ("bert_base", "bert_large", "roberta_base", "roberta_large", "albert_base", "albert_large")

# Table 2: what needs no source model.
BASELINES = {
    "random": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "manual": (30.64, 32.22, 20.48, 23.59, 18.63, 24.44),
    "direct_tuning": (50.56, 51.97, 46.24, 41.06, 42.98, 43.78),
}

# Table 3: method -> source -> accuracy on each of MODELS.
TRANSFERS = {
    "discretise": {
        "bert_base": (12.93, 10.76, 10.88, 11.96, 11.44, 11.10),
        "roberta_base": (12.31, 10.35, 13.51, 11.01, 11.67, 12.33),
        "bert_large": (9.00, 11.02, 5.64, 11.93, 7.35, 6.66),
        "roberta_large": (1.35, 0.70, 2.28, 6.22, 3.15, 2.64),
    },
    "projector": {
        "bert_base": (26.82, 12.49, 14.36, 9.78, 10.99, 18.77),
        "roberta_base": (23.46, 17.46, 35.37, 20.16, 11.63, 14.44),
        "bert_large": (3.15, 4.77, 5.64, 4.66, 8.18, 14.55),
        "roberta_large": (2.62, 3.20, 5.54, 12.80, 7.45, 8.25),
    },
    "relative_paper": {
        "bert_base": (49.82, 31.40, 17.68, 21.07, 20.83, 16.80),
        "roberta_base": (31.33, 27.52, 45.17, 25.09, 26.11, 24.72),
        "bert_large": (26.78, 50.21, 7.64, 16.91, 15.10, 13.44),
        "roberta_large": (3.81, 12.45, 3.63, 40.91, 4.48, 2.94),
        "bert_base+bert_large": (49.21, 47.78, 27.60, 23.21, 23.67, 22.32),
        "bert_base+roberta_base": (48.79, 32.83, 43.83, 25.26, 27.13, 26.54),
    },
}

# Table 1: the prompt itself, between models of one embedding size.
DIRECT = {
    ("bert_base", "roberta_base"): 0.11,
    ("roberta_base", "bert_base"): 0.12,
    ("bert_large", "roberta_large"): 6.27,
    ("roberta_large", "bert_large"): 0.49,
}

# Table 5: encoders to decoders and back; what is in Table 3 as well is left out.
DECODERS = ("gpt2_small", "gpt2_medium", "gpt2_large")
DECODER_BASELINES = {"manual": (4.73, 8.01, 10.23), "direct_tuning": (31.62, 32.23, 34.44)}
DECODER_TRANSFERS = {
    ("bert_base", "gpt2_small"): 10.46,
    ("bert_base", "gpt2_medium"): 11.52,
    ("bert_base", "gpt2_large"): 5.50,
    ("roberta_base", "gpt2_small"): 14.06,
    ("roberta_base", "gpt2_medium"): 13.70,
    ("roberta_base", "gpt2_large"): 14.33,
    ("gpt2_small", "bert_base"): 6.58,
    ("gpt2_small", "roberta_base"): 0.39,
    ("gpt2_small", "gpt2_medium"): 13.72,
    ("gpt2_small", "gpt2_large"): 2.34,
    ("gpt2_medium", "bert_base"): 4.06,
    ("gpt2_medium", "roberta_base"): 0.50,
    ("gpt2_medium", "gpt2_small"): 5.02,
    ("gpt2_medium", "gpt2_large"): 1.79,
}

# Table 6: classification with RoBERTa-large as the target.
CLASSIFICATION = {
    "sst2": {"manual": 69.95, "direct_tuning": 90.94, "bert_base": 82.45, "roberta_base": 84.63},
    "dbpedia": {"manual": 72.28, "direct_tuning": 84.92, "bert_base": 77.05, "roberta_base": 80.81},
}

# FUSE, Tables 1 and 2: its own rows, GPT2-medium with CLIP ViT-B/32 (and RoBERTa for the sentiment).
CAPTIONS = {
    "fuse/coco": ("Table 1", {"BLEU-4": 1.59, "METEOR": 14.72, "CIDEr": 15.93, "SPICE": 9.15}),
    "fuse/nocaps": ("Table 1", {"CIDEr": 20.65, "SPICE": 6.64}),
    "fuse/senticap": (
        "Table 2",
        {
            "positive BLEU-3": 1.91,
            "positive METEOR": 10.40,
            "positive accuracy": 83.8,
            "negative BLEU-3": 2.29,
            "negative METEOR": 7.42,
            "negative accuracy": 85.6,
        },
    ),
}


def _captions() -> dict[str, PaperCell]:
    return {name: PaperCell(f"{FUSE}, {table}", values) for name, (table, values) in CAPTIONS.items()}


def _main_table() -> dict[str, PaperCell]:
    """Tables 1, 2 and 3 of the transfer paper: one cell for every pair of source and target."""
    cells = {}
    for source in TRANSFERS["relative_paper"]:
        for place, target in enumerate(MODELS):
            values = {name: row[place] for name, row in BASELINES.items()}
            values |= {name: rows[source][place] for name, rows in TRANSFERS.items() if source in rows}
            if (source, target) in DIRECT:
                values["direct"] = DIRECT[source, target]
            cells[f"transfer/{source}/{target}"] = PaperCell(f"{TRANSFER}, Tables 1 to 3", values)
    return cells


def _other_tables() -> dict[str, PaperCell]:
    """Tables 5 and 6 of the transfer paper."""
    cells = {}
    for (source, target), value in DECODER_TRANSFERS.items():
        table, names = (DECODER_BASELINES, DECODERS) if target in DECODERS else (BASELINES, MODELS)
        baselines = {name: row[names.index(target)] for name, row in table.items() if name != "random"}
        cells[f"transfer/{source}/{target}"] = PaperCell(
            f"{TRANSFER}, Table 5", baselines | {"relative_paper": value}
        )
    for task, row in CLASSIFICATION.items():
        for source in ("bert_base", "roberta_base"):
            values = {
                "manual": row["manual"],
                "direct_tuning": row["direct_tuning"],
                "relative_paper": row[source],
            }
            cells[f"transfer/{task}/{source}/roberta_large"] = PaperCell(f"{TRANSFER}, Table 6", values)
    return cells


CELLS: Mapping[str, PaperCell] = {**_captions(), **_main_table(), **_other_tables()}
