"""Missing networks: one task trains, others wait or go on; what was killed is resumed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from bids_brnn.app import any_spectrum, training
from bids_brnn.app.train_job import train
from bids_brnn.app.training import train_missing
from bids_brnn.bids import find_acquisitions
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import DataError, OutputError, UsageError
from bids_brnn.files import write_text
from bids_brnn.phantom import make_dataset
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.workflows.choice import plan_estimation
from bids_brnn.zoo.cache import holding, job_for, tell, told
from bids_brnn.zoo.card import ModelCard
from tests.patience import codes_of
from tests.zoo.evaluations import judged

TINY = {
    "network": {"width": 24, "blocks": 1},
    "surrogate": {"width": 24, "blocks": 1, "steps": 60},
    "errors": {"width": 16, "blocks": 1, "steps": 40},
    "fingerprints": 1500,
    "held_out": 200,
}
STAGE = {"loss": {"name": "efficient", "weight": 0.0, "mirrored": False}, "warmup": 5}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with a train that no network is for."""
    folder = tmp_path_factory.mktemp("study") / "raw"
    make_dataset(
        folder, n_participants=2, kinds=("mrf",), shape=(6, 7, 1), mrf_train=jiang_like_train(90)
    )
    return folder


@pytest.fixture(scope="module")
def series(study):
    found = find_acquisitions(study).acquisitions
    assert len(found) == 2
    return found


@pytest.fixture
def make_config(study, tmp_path):
    def make(**changes):
        values = {
            "bids_dir": study, "output_dir": tmp_path / "out", "work_dir": tmp_path / "work",
            "train_missing": "quick", "skip_bids_validation": True,
        }  # fmt: skip
        return RunConfig(**{**values, **changes})

    return make


def fake(evaluation, count=None, seconds=0.0):
    """A trainer that copies the card and weights of a shipped network, and counts its calls."""
    from bids_brnn.zoo.places import SHIPPED

    def trainer(job, lock):
        if count is not None:
            with count.open("a") as file:
                file.write("x")
        tell(lock, "training, 50 %, about 2 min left")
        time.sleep(seconds)
        card = ModelCard.from_file(SHIPPED / "mrf-jiang.json")
        sequence = {"digest": job.protocol.sequence.digest, "name": "n"}
        card = replace(card, name=job.name, sequence=sequence, evaluation=evaluation)
        shutil.copy(SHIPPED / "mrf-jiang.safetensors", job.card.with_suffix(".safetensors"))
        write_text(job.card, card.to_json())  # whole at once, as the real one

    return trainer


def write_tiny(config, series, steps):
    """Make the job of a series a training of seconds: its configuration is there already."""
    job = training._job(config, series)
    path = job.write_configuration("float32")
    content = {
        "name": job.name, "description": "tiny", "model": "fisp", "rank": 4,
        "protocol": path.with_suffix(".json").name, **TINY,
        "training": {"stages": [{**STAGE, "steps": steps, "batch": 256}], "checkpoint_every": 20,
                     "report_every": 20, "precision": "float32", "snr_range": [20, 40]},
    }  # fmt: skip
    path.write_text(tomli_w.dumps(content))
    return job


def in_this_process(job, lock):
    """The real training, without the seconds that a process takes to begin."""
    train(job.configuration, job.work, job.folder, threads=1, device="cpu")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("weights cut", "other SHA-256"),
        ("weights gone", "No such file"),
        ("card cut", "cannot read the model card"),
    ],
)
def test_a_network_that_is_damaged_is_told_with_what_to_remove(make_config, series, harm, words):
    config, trainer = make_config(), fake(judged(tissue_snr="40"))
    train_missing(config, series, trainer)
    (card,) = config.networks_dir.glob("*.json")
    weights = card.with_suffix(".safetensors")
    if harm == "card cut":
        card.write_text(card.read_text()[:500])
    elif harm == "weights cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        weights.unlink()
    (problem,) = train_missing(config, series, trainer).problems
    assert words in str(problem)
    assert str(problem).endswith(f"to train it again, remove {card}.")
    assert "--weights" not in str(problem)


def test_series_of_one_protocol_share_a_training(make_config, series, tmp_path):
    config, count = make_config(), tmp_path / "count"
    good = judged(tissue_snr="40")
    outcome = train_missing(config, series, fake(good, count))
    assert count.read_text() == "x"
    assert not list((config.networks_dir / "training").iterdir())  # neither state nor lock
    assert len(list(config.networks_dir.glob("*.json"))) == 1
    assert outcome.served + len(outcome.problems) == 1


def test_a_network_that_fails_the_rule_is_kept_but_not_used_nor_trained_again(
    make_config, series, tmp_path
):
    config, count = make_config(), tmp_path / "count"
    for _ in range(2):
        outcome = train_missing(config, series, fake(judged(bias=9), count))
        (problem,) = outcome.problems
        assert isinstance(problem, DataError)
        assert "is left aside: its squared bias on held-out fingerprints is 9" in str(problem)
        assert "a larger preset" in str(problem)
    assert count.read_text() == "x"
    plan = plan_estimation(config, series[0], ())
    assert list(plan.recipes) == ["dict"]
    assert "is left aside: its squared bias" in plan.notes[0]
    card = next(config.networks_dir.glob("*.json"))
    for weights in (str(card), card.stem):  # the fake's weights are of another train
        named = make_config(weights=weights, train_missing=None)
        with pytest.raises(DataError, match=r"the basis of the network .* has the shape"):
            plan_estimation(named, series[0], ())


def test_a_flag_that_the_protocol_cannot_give_is_no_reason_to_train_longer(
    make_config, series, tmp_path
):
    evaluation = judged()
    evaluation["outside_training"]["flagged_noise_only"] = 0.2
    (problem,) = train_missing(make_config(), series, fake(evaluation)).problems
    assert "what may help: a higher lowest SNR of training, or a protocol of more" in str(problem)
    assert "larger preset" not in str(problem)


def test_names_follow_from_protocol_field_and_preset_alone(make_config, series, tmp_path):
    config = make_config()
    job = training._job(config, series[0])
    assert job.name == training._job(make_config(output_dir=tmp_path / "b"), series[1]).name
    assert job.name != training._job(make_config(train_missing="standard"), series[0]).name
    metadata = {**series[0].metadata, "MagneticFieldStrength": 7.0}
    assert job.name != training._job(config, replace(series[0], metadata=metadata)).name
    assert job_for(tmp_path, series[0], "quick", {}).name != job.name


def _task(config, series, count, done, while_training):
    config = replace(config, while_training=while_training)
    trainer = fake(judged(tissue_snr="40"), count, seconds=1.0)
    outcome = train_missing(config, [series], trainer)
    with done.open("a") as file:
        file.write(f"{os.getpid()} {outcome.served} {len(outcome.problems)}\n")


@pytest.mark.parametrize("while_training", ["wait", "reference"])
def test_of_forty_tasks_at_once_one_trains(
    make_config, series, tmp_path, monkeypatch, while_training
):
    monkeypatch.setattr(training, "_OFTEN", 0.1)
    monkeypatch.setattr(training, "choose_network", _only_by_card)
    config, count, done = make_config(), tmp_path / "count", tmp_path / "done"
    context = multiprocessing.get_context("fork")
    arguments = (config, series[0], count, done, while_training)
    tasks = [context.Process(target=_task, args=arguments) for _ in range(40)]
    for task in tasks:
        task.start()
    assert codes_of(tasks) == [0] * 40
    assert count.read_text() == "x"
    assert not list((config.networks_dir / "training").iterdir())
    rows = [line.split() for line in done.read_text().splitlines()]
    assert len(rows) == 40
    served = sum(int(row[1]) for row in rows)
    if while_training == "wait":
        assert served == 40
    else:  # whoever came while it was trained goes on without
        assert 1 <= served < 40
        assert all(int(row[1]) + int(row[2]) == 1 for row in rows)


def test_of_those_who_wait_one_takes_over_where_the_trainer_is_killed(
    make_config, series, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "_OFTEN", 0.1)
    monkeypatch.setattr(training, "choose_network", _only_by_card)
    config, count, done = make_config(), tmp_path / "count", tmp_path / "done"
    context = multiprocessing.get_context("fork")
    begun = context.Event()

    def never(job, lock):
        tell(lock, "training, 1 %")
        begun.set()
        time.sleep(600)

    first = context.Process(target=train_missing, args=(config, [series[0]], never))
    first.start()
    while not begun.wait(0.5):
        assert first.is_alive()
    arguments = (config, series[0], count, done, "wait")
    others = [context.Process(target=_task, args=arguments) for _ in range(4)]
    for task in others:
        task.start()
    time.sleep(0.3)
    assert not count.exists()  # the lock is held
    first.kill()
    assert codes_of([first, *others]) == [-signal.SIGKILL, 0, 0, 0, 0]
    assert count.read_text() == "x"
    assert [line.split()[1:] for line in done.read_text().splitlines()] == [["1", "0"]] * 4


def test_nobody_takes_over_from_a_trainer_that_stands_still(
    make_config, series, tmp_path, monkeypatch
):
    """As on a node that swaps, or that a scheduler has suspended; a lock has no age."""
    monkeypatch.setattr(training, "_OFTEN", 0.05)
    monkeypatch.setattr(training, "choose_network", _only_by_card)
    config, count, done = make_config(), tmp_path / "count", tmp_path / "done"
    context = multiprocessing.get_context("fork")
    arguments = (config, series[0], count, done, "wait")
    first, *others = [context.Process(target=_task, args=arguments) for _ in range(4)]
    first.start()
    while not count.exists():
        assert first.is_alive()
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)
    for task in others:
        task.start()
    time.sleep(0.6)  # a dozen looks of each
    assert not done.exists()
    os.kill(first.pid, signal.SIGCONT)
    assert codes_of([first, *others]) == [0] * 4
    assert count.read_text() == "x"


def _only_by_card(_weights, _item, own):
    """A choice by the card alone: forty processes need no weights for it."""
    from bids_brnn.zoo.choice import Choice

    found = list(own.glob("*.json")) if own.is_dir() else []
    return Choice(found[0], ModelCard.from_file(found[0])) if found else Choice()


def test_a_lock_ends_with_its_process_and_tells_who_holds_it(tmp_path):
    path = tmp_path / "a.lock"
    code = (
        "import sys, time; from pathlib import Path\n"
        "from bids_brnn.zoo.cache import holding, tell\n"
        f"with holding(Path({str(path)!r})) as file:\n"
        "    tell(file, 'training, 10 %'); print('held', flush=True); time.sleep(60)\n"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as task:
        assert task.stdout.readline() == "held\n"
        with holding(path) as file:
            assert file is None
        assert told(path).endswith(f"process {task.pid}: training, 10 %")
        task.kill()
    with holding(path) as file:
        assert file is not None
    assert told(path) == ""
    assert told(tmp_path / "absent") == ""


def test_a_folder_that_cannot_be_written_is_told(make_config, series, tmp_path):
    (tmp_path / "file").write_text("")
    config = make_config(weights_dir=tmp_path / "file")
    (problem,) = train_missing(config, series, fake(judged())).problems
    assert isinstance(problem, OutputError)


def test_a_training_that_was_killed_is_resumed_to_the_same_network(make_config, series, tmp_path):
    whole, killed = (make_config(weights_dir=tmp_path / name) for name in ("whole", "killed"))
    for config in (whole, killed):
        job = write_tiny(config, series[0], 160)
    words = [sys.executable, "-m", "bids_brnn.app.train_job", str(job.configuration)]
    words += [str(job.work), str(job.folder), "1", "cpu"]
    job.work.mkdir(parents=True)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as task:
        for line in task.stdout:
            if json.loads(line).get("words", "").startswith("training,"):
                break
        while not list(job.work.glob("*.checkpoint.safetensors")):
            time.sleep(0.02)
        task.kill()
    assert not job.card.is_file()
    digests = []
    for config in (killed, whole):
        train_missing(config, [series[0]], in_this_process)
        card = ModelCard.from_file(training._job(config, series[0]).card)
        assert card.evaluation["tissue_sets"]
        digests.append(card.weights_sha256)
    assert digests[0] == digests[1]
    assert not job.work.exists()


def test_what_a_training_ends_with_is_told_by_who_started_it(make_config, series, tmp_path):
    config = make_config()
    job = write_tiny(config, series[0], 10)
    job.configuration.write_text(job.configuration.read_text().replace("fingerprints", "prints"))
    (problem,) = train_missing(config, [series[0]]).problems
    assert problem.exit_code == 65
    assert "the training stopped" in str(problem)
    assert "unknown key prints" in str(problem)


def test_lines_of_others_and_cut_ones_are_no_part_of_what_a_training_says(
    make_config, series, tmp_path
):
    """A package that extends the program may print when it is loaded."""
    config = make_config()
    job = training._job(config, series[0])
    lines = [
        "my extension is loaded\n", '{"words": "simulation, 3 %"}\n', "12\n",
        '{"error": "no memory", "code": 71}\n', "goodbye\n", '{"words": "trai',
    ]  # fmt: skip
    with (tmp_path / "lock").open("w+") as lock:
        last = training._Subprocess(config)._listen(job, lock, lines)
    assert last == {"error": "no memory", "code": 71}
    assert "simulation, 3 %" in told(tmp_path / "lock")
    found = any_spectrum._error_in("".join(lines))
    assert (str(found), found.exit_code) == ("no memory", 71)
    assert any_spectrum._error_in('hello\n{"wor') is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "none"}, "--weights none names the network"),
        ({"weights": "mrf-jiang"}, "so that none is missing"),
        ({"reports_only": True}, "train nothing"),
        ({"train_missing": "huge"}, 'train_missing is "huge"; use one of quick, standard'),
        ({"while_training": "sleep"}, "use one of wait, reference"),
    ],
)
def test_options_that_contradict_each_other_are_refused(make_config, changes, words):
    with pytest.raises(UsageError, match=words):
        make_config(**changes)


def test_what_has_no_network_is_not_trained(make_config, series):
    magnitudes = replace(series[0], parts={"mag": Path("x")})
    outcome = train_missing(make_config(), [magnitudes], fake(judged()))
    assert outcome == training.Outcome()


@pytest.mark.parametrize("damage", [b"", b"name = ", b"\xff", b'name = "other"\n'])
def test_a_damaged_configuration_or_protocol_is_written_again(make_config, series, damage):
    job = training._job(make_config(), series[0])
    path = job.write_configuration("float32")
    stored = path.with_suffix(".json")
    good = [file.read_bytes() for file in (path, stored, stored.with_suffix(".npz"))]
    for file in (path, stored, stored.with_suffix(".npz")):
        file.write_bytes(damage)
    job.write_configuration("float32")
    assert [file.read_bytes() for file in (path, stored, stored.with_suffix(".npz"))] == good


@pytest.mark.parametrize("planted", ["protocols", "training", "training/NAME"])
def test_no_training_writes_through_links_that_others_planted(
    make_config, series, tmp_path, planted
):
    config, elsewhere = make_config(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    job = training._job(config, series[0])
    link = job.folder / planted.replace("NAME", job.name)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)

    def trainer(job, lock):
        job.write_configuration("float32")
        raise DataError("as far as here")

    (problem,) = train_missing(config, series[:1], trainer).problems
    assert isinstance(problem, OutputError)
    assert "nothing is written through links" in str(problem)
    assert not list(elsewhere.iterdir())
