"""Captions with references, and what pycocoevalcap says of them."""

CAPTIONS = {
    "beach": "a man riding a wave on top of a surfboard",
    "kitchen": "a kitchen with a stove, a sink and a window",
    "train": "a red train is parked at the station",
    "pizza": "a close up of a pizza on a wooden table",
    "dog": "two dogs are running through the snow",
}
REFERENCES = {
    "beach": [
        "A surfer rides a large wave in the ocean.",
        "A man surfs on a big wave.",
        "A man riding a wave on a board.",
    ],
    "kitchen": ["A small kitchen with a white stove and a sink.", "The kitchen has a window above the sink."],
    "train": ["A train stopped at a train station.", "A red passenger train pulls into the station."],
    "pizza": [
        "A pizza sitting on top of a wooden table.",
        "A close-up of a cheese pizza.",
        "Pizza on a table",
    ],
    "dog": ["A brown dog runs in the grass.", "Two dogs play in the snow near a fence."],
}
# By pycocoevalcap 1.2's own Bleu, Meteor, Rouge and Cider after its PTBTokenizer.
GOLDEN = {
    "BLEU-1": 0.7333333333170371,
    "BLEU-2": 0.6055300708052012,
    "BLEU-3": 0.41856907853738884,
    "BLEU-4": 0.2926343859718044,
    "METEOR": 0.32649751107037667,
    "ROUGE-L": 0.6786131957262963,
    "CIDEr": 1.9264158815819985,
}
