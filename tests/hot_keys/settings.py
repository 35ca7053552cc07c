"""How long the tests with hot keys run, and with which seed: from the environment."""

import os
import random

SECONDS_VARIABLE = "CROSSKEY_SOAK_SECONDS"
SEED_VARIABLE = "CROSSKEY_TEST_SEED"


def run_seconds(default: float) -> float:
    """How long one run takes: the default, unless a soak asks for more."""
    return float(os.environ.get(SECONDS_VARIABLE, default))


def run_seed() -> int:
    """A seed for the choices of a run; printed, so that a run can be repeated, as far as timing lets it."""
    seed = int(os.environ.get(SEED_VARIABLE, random.randrange(1_000_000)))
    say(f"{SEED_VARIABLE}={seed}")
    return seed


def say(text: str) -> None:
    """Tells whoever watches a soak, or reads why a test failed."""
    print(text)  # noqa: T201
