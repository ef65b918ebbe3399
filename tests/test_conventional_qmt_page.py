"""docs/conventional_qmt.md: its examples run as they stand, and its numbers are so."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from bids_brnn.bids.input.z_protocol import read_z_protocol
from bids_brnn.cli.parser import build_parser
from bids_brnn.cli.toolbox.main import main
from bids_brnn.cli.z_designs import bounds, tissue_theta
from bids_brnn.parameters import Z_SPECTRUM
from bids_brnn.priors import TISSUES
from bids_brnn.sequences.z_designs import Z_PROTOCOLS, demo_protocol
from bids_brnn.sequences.z_spectrum import usual_protocol
from bids_brnn.signals import build_model, models
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.signals.two_pools.z_spectrum.quantities import OBSERVED_R1

FREE = OBSERVED_R1.columns("estimated")
NAMES = [OBSERVED_R1.names[column] for column in FREE]


@pytest.fixture(scope="module")
def page(request) -> str:
    path = request.config.rootpath / "docs" / "conventional_qmt.md"
    return path.read_text(encoding="utf-8")


@pytest.fixture
def files(page, tmp_path, monkeypatch) -> Path:
    """The files of the page, written into the current directory."""
    monkeypatch.chdir(tmp_path)
    found = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", page, re.DOTALL)
    assert len(found) == 3
    for name, content in found:
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def _lines(page: str, program: str) -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{program} ")]


def test_its_protocol_is_that_of_the_demo(files):
    assert read_z_protocol(files / "acq-spgr_zspectrum.tsv").digest == demo_protocol().digest


def test_commands_of_the_toolbox_run(page, files, capsys):
    commands = _lines(page, "brnn")
    assert {words[0] for words in commands} == {"crb", "simulate"}
    for words in commands:
        assert main(words) == 0, capsys.readouterr().err
    signal = np.load(files / "signals.npz")["signal"]
    assert signal.shape == (2, 12)
    np.testing.assert_allclose(signal[:, 0].real, 1)


def test_commands_of_the_app_are_understood(page):
    commands = _lines(page, "bids_brnn")
    assert len(commands) == 2
    parser = build_parser()
    known = {option for action in parser._actions for option in action.option_strings}
    for words in commands:
        assert {word for word in words if word.startswith("-")} <= known


def test_every_output_is_a_map_of_the_program(page):
    section = page[page.index("## What comes out") : page.index("## The models")]
    rows = re.findall(r"^\| (`.*?) \| .*? \|", section, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    derived = {item.item.name for item in OBSERVED_R1.derived}
    assert listed == {*NAMES, *derived}


def test_every_model_is_listed(page):
    section = page[page.index("## The models") : page.index("### Which model when")]
    listed = set(re.findall(r"^\| `([a-z][\w-]+)`", section, re.MULTILINE))
    known = {name for name, entry in models().items() if entry.protocol == "zspectrum"}
    assert listed == {name.removesuffix("-zspectrum") for name in known} | {"gbloch"}


def test_dividing_costs_what_the_page_says(page, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    space: dict[str, object] = {}
    exec(compile(block, "docs/conventional_qmt.md", "exec"), space)
    assert "std, divided over not:" in capsys.readouterr().out
    wider = 100 * (space["actual"] / space["best"] - 1)
    smaller = 100 * (1 - space["claimed"] / space["actual"])
    assert f"m0s has a {wider[0]:.0f} % larger standard deviation" in page
    assert f"reports is {smaller[0]:.0f} % too small" in page
    assert NAMES[0] == "m0s"


def test_the_price_of_division_over_the_protocols_is_as_said(page):
    wider, smaller = [], []
    for make in Z_PROTOCOLS.values():
        for tissue in ("WM", "GM"):
            model = ObservedR1(build_model("yarnykh", make()))
            theta = tissue_theta(tissue)
            parts = model.linearize(torch.from_numpy(theta))
            signal, slopes = (part.real.numpy()[0] for part in parts)
            slopes = slopes[:, FREE] * theta[0, FREE]
            whole = np.column_stack([signal, slopes])
            best = np.sqrt(np.linalg.inv(whole.T @ whole)[1, 1])
            z = signal[1:] / signal[0]
            divided = (slopes[1:] - np.outer(z, slopes[0])) / signal[0]
            gain = (np.linalg.inv(divided.T @ divided) @ divided.T)[0]
            actual = np.sqrt(gain @ gain + (gain @ z) ** 2) / signal[0]
            wider.append(100 * (actual / best - 1))
            smaller.append(100 * (1 - np.sqrt(gain @ gain) / signal[0] / actual))
    low, high, least, most = min(wider), max(wider), min(smaller), max(smaller)
    said = f"{low:.0f} to {high:.0f} %, and {least:.0f} to {most:.0f} %"
    assert said in page


def _fit(model: ObservedR1, theta: np.ndarray, data: np.ndarray) -> np.ndarray:
    """M0 and the estimated parameters over ``theta``, and the rms residual, without noise."""

    def residual(x: np.ndarray) -> np.ndarray:
        here = theta.copy()
        here[0, FREE] *= x[1:]
        return x[0] * model(torch.from_numpy(here)).real.numpy()[0] - data

    start = np.ones(1 + len(FREE))
    bounds = ([0.5, *[0.1] * len(FREE)], [2, 2.5, 6, 4.5, 2])
    found = least_squares(residual, start, bounds=bounds, xtol=1e-11, ftol=1e-13)
    return np.append(found.x, np.sqrt(np.mean(found.fun**2)))


def test_the_assumption_of_r1s_biases_as_the_page_says(page):
    whole = build_model("yarnykh", demo_protocol())
    found = {}
    for tissue in ("WM", "GM"):
        known = TISSUES[tissue]
        values = {name: known[name] for name in Z_SPECTRUM.names if name in known}
        like = torch.zeros(1, dtype=torch.float64)
        data = whole(Z_SPECTRUM.theta(values, like)[None]).real.numpy()[0]
        found[tissue] = dict(
            zip(("M0", *NAMES, "rms"), _fit(ObservedR1(whole), tissue_theta(tissue), data),
                strict=True)
        )  # fmt: skip
    white, grey = found["WM"], found["GM"]
    assert f"m0s {100 * (1 - white['m0s']):.0f} % too small" in page
    assert f"Rx {white['Rx']:.1f} times too large" in page
    assert f"it is {100 * white['rms']:.2f} % of M0" in page
    assert f"it is {100 * (1 - grey['m0s']):.0f} % and {grey['Rx']:.1f} times" in page


def test_the_table_of_protocols_says_what_the_text_concludes():
    r2f, pool, crossing = {}, [], []
    for name, make in Z_PROTOCOLS.items():
        for tissue in ("WM", "GM"):
            exact = bounds(make(), tissue)
            noise, both = exact["m0s"], bounds(make(), tissue, 0.03)["m0s"]
            pool.append(noise)
            crossing.append(100 * noise / np.sqrt(both**2 - noise**2))
            r2f[name, tissue] = exact["R2f"]
    assert min(r2f["usual", "WM"], r2f["like WAND", "WM"]) > 83.5
    assert max(r2f["like qMRLab", "WM"], r2f["demo", "WM"]) < 30
    assert 5 < min(pool) < max(pool) < 11.5
    assert 195 < min(crossing) < max(crossing) < 555


@pytest.mark.slow
@pytest.mark.skipif("gbloch-zspectrum" not in models(), reason="there is no gbloch of Z-spectra")
def test_models_differ_as_the_page_says():
    exact = {name: ObservedR1(build_model("gbloch-zspectrum", make()))
             for name, make in (("demo", demo_protocol), ("usual", usual_protocol))}  # fmt: skip
    for tissue in ("WM", "GM"):
        theta = tissue_theta(tissue)
        for name, (low, high) in {
            "yarnykh": (1.04, 1.07), "sled-pike-rp": (1.04, 1.07),
            "ramani": (0.77, 0.88), "sled-pike-cw": (0.77, 0.88),
        }.items():  # fmt: skip
            signal = exact["demo"](torch.from_numpy(theta)).real.numpy()[0]
            model = ObservedR1(build_model(name, demo_protocol()))
            found = dict(
                zip(("M0", *NAMES, "rms"), _fit(model, theta, signal), strict=True)
            )  # fmt: skip
            assert low - 0.005 < found["m0s"] < high + 0.005
            assert 0.775 < found["Rx"] < 0.845
            assert 1.02 < found["T2s"] < 1.035
            assert found["R2f"] < 1.95
            assert 0.0034 < found["rms"] < 0.0045
        for name in ("yarnykh", "sled-pike-rp"):
            signal = exact["usual"](torch.from_numpy(theta)).real.numpy()[0]
            found = _fit(ObservedR1(build_model(name, usual_protocol())), theta, signal)
            assert abs(found[1 + NAMES.index("m0s")] - 1) < 0.025


def test_examples_of_json_are_json(page):
    for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL):
        json.loads(block)
