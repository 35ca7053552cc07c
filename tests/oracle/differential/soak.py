"""`make soak-differential`: one generated schema after the other, for as long as told."""

from __future__ import annotations

import time
from collections import Counter
from random import Random, SystemRandom

import click

from tests.oracle.differential.arena import Arena
from tests.oracle.differential.failure_script import SCRIPT
from tests.oracle.differential.led_families import led_families
from tests.oracle.differential.machine import Run, run_examples
from tests.oracle.differential.shapes import FamilyMaker
from tests.oracle.differential.stage import Stage, stage
from tests.oracle.pair import DisagreementError

FAMILIES = 12
LED_FAMILIES = 4
SECONDS_A_SCHEMA = 120.0


@click.command()
@click.option("--seconds", type=float, default=60.0, help="How long no new example is begun after.")
@click.option("--seed", type=int, default=None, help="Of a run before, to see it again; a random one if left out.")
def main(seconds: float, seed: int | None) -> None:
    """Compare a cluster with one PostgreSQL, and say how many operations agreed."""
    seed = SystemRandom().randrange(10**9) if seed is None else seed
    click.echo(f"seed {seed}")
    total: Counter[str] = Counter()
    ends_at = time.monotonic() + seconds
    try:
        with stage() as servers:
            for round_seed in range(seed, seed + 10**9):
                remaining = ends_at - time.monotonic()
                if remaining <= 0:
                    break
                total += _run_schema(servers, round_seed, min(remaining, SECONDS_A_SCHEMA))
                click.echo(f"{_agreed(total)} so far")
    except DisagreementError as disagreement:
        raise click.ClickException(str(disagreement)) from disagreement
    click.echo(f"All agreed: {_agreed(total)}")


def _run_schema(servers: Stage, seed: int, seconds: float) -> Counter[str]:
    """Runs examples on one schema. Raises DisagreementError."""
    maker = FamilyMaker(Random(seed))
    families = [*(maker.family() for _ in range(FAMILIES)), *led_families(Random(seed), LED_FAMILIES)]
    with servers.judge("\n".join(family.ddl for family in families)) as judge:
        run = Run(Arena(judge, families), SCRIPT, seconds)
        run_examples(run, seed)
        judge.check_health()
    return judge.counts + Counter({"examples": run.examples})


def _agreed(total: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(total.items()))


if __name__ == "__main__":
    main()
