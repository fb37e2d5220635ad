"""The simulated studies: that what is put into them is in them, and that a rate is counted."""

import numpy as np
import pytest

from perf.validate.machines import Machine, decode_cells, study
from perf.validate.scenario import Scenario, simulate
from perf.validate.scenarios import scenarios


def test_a_study_has_the_effects_and_the_drift_put_in():
    still = Machine("linear", sd=0, noise=0)
    v1, v2 = study(np.random.default_rng(0), {"v1": 0.0, "v2": np.log(1.5)}, still, 40)
    for cell, factor in ((v1, 8), (v2, 12)):
        for process in cell["processes"]:
            readings = process["yardstick_ms"]
            paces = [
                (one * next_) ** 0.5 for one, next_ in zip(readings, readings[1:], strict=False)
            ]
            assert [run["time_total_ms"] for run in process["runs"]] == pytest.approx(
                [factor * pace for pace in paces], rel=1e-3
            )
    first = [cell["processes"][0]["yardstick_ms"][0] for cell in (v1, v2)]
    assert max(v1["processes"][-1]["yardstick_ms"]) > 1.13 * min(first)
    places = sorted(p["place_in_line"] for cell in (v1, v2) for p in cell["processes"])
    assert places == list(range(1, 81))
    (step, _) = decode_cells([v1, v2], {8: {"v1": 3.0, "v2": 3.0}})
    ratio = (
        step["processes"][0]["runs"][0]["tpot_ms"] / v1["processes"][0]["runs"][0]["time_total_ms"]
    )
    assert ratio == pytest.approx(3 / 8)


def test_a_rate_is_the_mean_of_the_studies_that_count():
    shares = iter([1.0, None, 0.0, 0.0, 1.0])
    scenario = Scenario("a name", "a promise", lambda rng: next(shares), 0, 1, studies=5)
    found = simulate(scenario, seed=1)
    assert (found.rate, found.studies) == (0.5, 4)
    assert found.error == pytest.approx(0.5 / 8**0.5)  # of four studies and four more, half of them


def test_every_scenario_runs_and_has_a_name_of_its_own():
    every = list(scenarios())
    assert len({scenario.name for scenario in every}) == len(every)
    for scenario in every[:: len(every) // 8]:
        assert 0 <= simulate(scenario, seed=1, share=0).rate <= 1
