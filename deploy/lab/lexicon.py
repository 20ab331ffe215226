"""Words for the training text: real ones, invented ones and identifiers, split into seen and held out.

A word is held out when a checksum of it says so. Training draws from one side, the evaluation from the other,
so a name or a value of the evaluation can never have been in the training text.
"""

# ruff: noqa: PLR2004, SIM905 - chances are numbers, words read best in a row
from __future__ import annotations

import random
import string
import zlib

NOUNS = """
weather traffic price stock order parcel ticket invoice balance account user contact recipe score forecast
humidity temperature tide altitude distance route flight train bus hotel room table menu song movie book page
article news note task event meeting reminder alarm timer calendar photo file folder report chart budget salary
tax loan rate currency product item cart basket shipment warehouse machine server cluster disk memory network
queue job build release branch commit ticket bug patch test sensor light door window heater fan lamp engine
battery charger robot camera printer scanner phone message email letter package garden flower tree river lake
mountain forest beach island bridge tower castle museum theater library school student teacher doctor patient
nurse clinic drug dose cat dog horse fox bear wolf bird fish snake apple pear lemon bread cheese soup tea coffee
""".split()
ADJECTIVES = """
red blue green yellow black white small big old new fast slow warm cold quiet loud happy sad bright dark sweet
sour soft hard round flat clean dirty early late open closed empty full heavy light short long strong weak
""".split()
CITIES = """
Paris London Berlin Rome Madrid Oslo Vienna Prague Lisbon Dublin Athens Warsaw Zurich Geneva Milan Naples Tokyo
Osaka Kyoto Seoul Beijing Shanghai Delhi Mumbai Cairo Nairobi Lagos Lima Quito Bogota Boston Chicago Denver
Dallas Austin Seattle Toronto Montreal Sydney Perth Auckland Hanoi Manila Jakarta Dubai Tehran Ankara Sofia
Helsinki Stockholm Copenhagen Brussels Amsterdam Hamburg Munich Lyon Nice Porto Seville Turin Krakow Riga
""".split()
PEOPLE = """
Anna Tom Lena Max Maria Paul Nina Oscar Emma Hugo Clara Felix Ida Jonas Lucy Peter Rosa Simon Vera Walter Alice
Bob Carol David Eve Frank Grace Henry Iris Jack Kate Leo Mona Nora Olga Pia Rita Sam Tina Yuki
""".split()
VERBS = ["get"] * 8 + "find find check check fetch lookup read show list".split()
ACTIONS = "set create send start stop update delete book add open close move run save".split()
PARTS = ["b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br", "cl", "st", "tr"]
TAILS = ["", "", "n", "r", "l", "s", "t", "x", "m", "ck", "nd"]


def is_held_out(word: str) -> bool:
    """Whether a word belongs to the evaluation; one in eight does, whatever its case."""
    return zlib.crc32(b"k2-tiny:" + word.lower().encode()) % 8 == 0


class Lexicon:
    """A seeded source of words that stays on one side of the split."""

    def __init__(self, rng: random.Random, *, held_out: bool = False) -> None:
        self.rng = rng
        self.held_out = held_out

    def keep(self, word: str) -> bool:
        """Whether a word is on this side of the split."""
        return is_held_out(word) == self.held_out

    def pick(self, words: list[str]) -> str:
        """One of the listed words, on this side of the split."""
        while True:
            word = self.rng.choice(words)
            if self.keep(word):
                return word

    def invented(self) -> str:
        """A pronounceable word that means nothing."""
        while True:
            count = self.rng.choice([1, 2, 2, 2, 3])
            parts = [self.rng.choice(PARTS) + self.rng.choice("aeiou") + self.rng.choice(TAILS) for _ in range(count)]
            word = "".join(parts)
            if self.keep(word):
                return word

    def letters(self) -> str:
        """Random letters, the hardest thing to copy."""
        while True:
            word = "".join(self.rng.choices(string.ascii_lowercase, k=self.rng.randint(3, 8)))
            if self.keep(word):
                return word

    def word(self) -> str:
        """A lower-case word of any kind."""
        kind = self.rng.random()
        if kind < 0.40:
            return self.pick(NOUNS)
        if kind < 0.48:
            return self.pick(ADJECTIVES)
        return self.invented() if kind < 0.95 else self.letters()

    def digits(self, most: int = 4) -> str:
        """A number without leading zero, as text."""
        length = self.rng.choice([1, 1, 2, 2, 3, most])
        return str(self.rng.randrange(10 ** (length - 1) if length > 1 else 0, 10**length))

    def code(self) -> str:
        """An identifier such as an order number, a file, an address or a date."""
        rng, word = self.rng, self.invented() if self.rng.random() < 0.9 else self.letters()
        number = f"{rng.randrange(1, 10**5)}"
        forms = [
            f"{word[:2].upper()}-{number}",
            f"{word[0].upper()}{number}",
            f"{word}_{number}",
            f"{word}-{number}",
            f"{word}.{rng.choice(['txt', 'csv', 'py', 'md', 'json'])}",
            f"{word}@{self.invented()}.{rng.choice(['com', 'org', 'net'])}",
            f"20{rng.randrange(10, 40)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
            f"/{word}/{self.invented()}",
            "".join(rng.choices(string.ascii_uppercase, k=rng.randint(2, 4))),
            number,
        ]
        while True:
            form = rng.choice(forms)
            if form.isdigit() or self.keep(word):
                return form

    def value(self) -> str:
        """Something a person would ask about: a place, a name, a thing, an identifier."""
        kind = self.rng.random()
        if kind < 0.22:
            return self.pick(CITIES)
        if kind < 0.32:
            return self.pick(PEOPLE)
        if kind < 0.56:
            return self.word().capitalize()
        if kind < 0.80:
            return self.word()
        if kind < 0.84:
            return f"{self.word()} {self.word()}"
        if kind < 0.88:
            return f"{self.word().capitalize()} {self.word().capitalize()}"
        return self.code()

    def phrase(self, least: int, most: int) -> list[str]:
        """A few words in a row."""
        return [self.word() for _ in range(self.rng.randint(least, most))]
