"""Ids as the service makes them: a prefix and 21 letters and digits, repeatable by the seed."""

import random
import string

_ALPHABET = string.ascii_letters + string.digits


class Identifiers:
    """Makes the ids of one session. Two sessions of one server have different ids."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(f"ids:{seed}")

    def make(self, prefix: str) -> str:
        return f"{prefix}_{self.letters(21)}"

    def letters(self, count: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=count))
