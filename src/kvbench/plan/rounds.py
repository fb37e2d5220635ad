"""How many rounds a study measures: as many as it says, or until its verdicts are narrow enough.

A study with `stopping.half_width` or `stopping.minutes` gets a round more with every run of
Snakemake by `python -m kvbench.cli.rounds`, until its last verdicts say that it is enough. A run by
Snakemake alone adds none to those that were measured. What a run decides is kept for its jobs,
which read the configuration again, and at its end what the next one would decide.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from kvbench.files import write_text
from kvbench.plan.config_types import Config
from kvbench.plan.refusal import ConfigError
from kvbench.records.record import Record
from kvbench.records.store import RecordError, read_record

DECIDED = Path(".snakemake/rounds.json")
ADD = "KVBENCH_ADD_ROUNDS"  # in the environment of a run that may add a round
NEVER = 1e-9  # a half-width that no study reaches: time alone ends it


def decide(config: Config) -> tuple[int, str]:
    """The rounds that the next run measures, and why it adds some (empty where it does not).

    Presets share their rounds: what one needs the others get too. Raises ConfigError for verdicts
    that cannot be read.
    """
    from kvbench.stats import stopping  # numpy and scipy, which no other plan needs

    wanted, said = config["stopping"], {}
    rounds = config["replicates"]
    for preset, found in _found(config).items():
        measured, each = found["measured"], found["minutes"] or 0.0
        left = math.inf if wanted["minutes"] is None else wanted["minutes"] - each * measured
        widest = math.inf if found["widest"] is None else found["widest"]
        half_width = wanted["half_width"] or NEVER
        said[preset] = measured, stopping.decide(measured, widest, half_width, each, left)
        rounds = max(rounds, measured)
    going_on = {p: (measured, one) for p, (measured, one) in said.items() if one.another}
    if not going_on:
        return rounds, ""
    preset, (measured, one) = max(going_on.items(), key=lambda item: item[1][0])
    if measured == rounds:
        rounds += 1
    return (rounds, f"{preset}: {one.reason}") if rounds <= wanted["most"] else (rounds - 1, "")


def decided(config: Config, main: bool) -> tuple[int, str]:
    """What this run measures, as its main process has decided; a job reads it."""
    if not adds_rounds(config):
        return config["replicates"], ""
    if main:
        adding = ADD in os.environ
        rounds, reason = decide(config) if adding else (_kept(config), "")
        DECIDED.parent.mkdir(exist_ok=True)
        write_text(DECIDED, json.dumps([rounds, reason]))
        return rounds, reason
    rounds, reason = json.loads(DECIDED.read_text())
    return rounds, reason


def look_ahead(config: Config) -> None:
    """After a run that may add rounds: what the next one would measure, in place of this one's."""
    if adds_rounds(config) and ADD in os.environ:
        write_text(DECIDED, json.dumps(decide(config)))


def adds_rounds(config: Config) -> bool:
    """Whether the study asks for further rounds."""
    return any(config["stopping"][key] is not None for key in ("half_width", "minutes"))


def _kept(config: Config) -> int:
    """The rounds that a study asks for, or that any of its presets has been measured in."""
    measured = [int(found["measured"]) for found in _found(config).values()]
    return max([config["replicates"], *measured])


def _found(config: Config) -> dict[str, Record]:
    """What the last verdicts of each preset say of its rounds."""
    found = {}
    for preset in config["pretrained"]:
        path = Path(f"results/{config['study']}/verdicts/{preset}.json")
        try:
            record = read_record(path) if path.exists() else {}
        except RecordError as error:
            raise ConfigError(str(error)) from None
        if record.get("rounds"):
            found[preset] = record["rounds"]
    return found
