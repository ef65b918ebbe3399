"""What the logs of tasks tell: who is finished, who is not, and what the next attempt needs."""

from __future__ import annotations

import os

import pytest

from bids_brnn.app.cohort import OUT_OF_MEMORY, plan, read_cohort, summary
from bids_brnn.cli import supervisor
from bids_brnn.cli.toolbox import main as toolbox
from bids_brnn.errors import NothingSelectedError, curable
from bids_brnn.workflows.execution import KILLED


def log(logs, name, label, code, *, memory=4000, time="2026-01-01T00:00:00Z", said=""):
    """The log of a task; a code of None: it was killed."""
    logs.mkdir(exist_ok=True)
    end = (
        "" if code is None else f"bids_brnn-task end participant={label} time={time} code={code}\n"
    )
    with (logs / f"{name}.out").open("a") as stream:
        stream.write(
            f"bids_brnn-task start participant={label} time={time} job={name} restart=0 "
            f"memory={memory}\n12:00:00 working\n{said}\n{end}"
        )


@pytest.fixture
def study(tmp_path):
    for label in ("01", "02", "03", "10"):
        (tmp_path / "ds" / f"sub-{label}").mkdir(parents=True)
    (tmp_path / "ds" / "sub-x_old").mkdir()
    (tmp_path / "ds" / "participants.tsv").write_bytes(b"participant_id\r\nsub-01\r\nsub-77")
    return tmp_path / "ds", tmp_path / "logs"


def test_participants_are_the_folders_and_not_the_rows_of_a_table(study, capsys):
    assert read_cohort(study[0]).labels == ("01", "02", "03", "10")
    assert toolbox.main(["cohort", str(study[0])]) == 0
    assert capsys.readouterr().out == "01\n02\n03\n10\n"
    assert toolbox.main(["cohort", str(study[0]), "--participant-label", "sub-02", "10"]) == 0
    assert capsys.readouterr().out == "02\n10\n"


def test_nobody_or_a_stranger_is_refused(study, tmp_path):
    with pytest.raises(NothingSelectedError, match=r"sub-04: not in .* which has 4 participants"):
        read_cohort(study[0], participants=["01", "04"])
    with pytest.raises(NothingSelectedError, match="is it the root of a BIDS data set"):
        read_cohort(tmp_path)


def test_the_last_attempt_counts(study):
    data, logs = study
    log(logs, "1_0", "01", 65, time="2026-01-01T00:00:00Z")
    log(logs, "9_0", "01", 0, time="2026-01-02T00:00:00Z")
    log(logs, "1_1", "02", None, time="2026-01-01T00:00:00Z")
    log(logs, "1_1", "02", 0, time="2026-01-01T00:10:00Z")  # requeued
    log(logs, "2_0", "03", 0, time="2026-01-01T00:00:00Z")
    log(logs, "1_2", "03", 143, time="2026-01-03T00:00:00Z")
    cohort = read_cohort(data, logs)
    assert cohort.unfinished == ("03", "10")
    assert cohort.reason("03") == "ended before its time"
    assert cohort.reason("10") == "did not start"


def test_without_a_series_is_settled_and_said(study):
    data, logs = study
    for number, label in enumerate(("01", "02", "03")):
        log(logs, f"1_{number}", label, 0)
    log(logs, "1_3", "10", 66)
    cohort = read_cohort(data, logs)
    assert cohort.exit_code == 0
    assert "Without a series to map: sub-10." in list(summary(cohort))


@pytest.mark.parametrize(
    ("codes", "expected"), [((0, 0, 0, 65), 65), ((0, 0, 65, 74), 1), ((0, 0, 65, None), 1)]
)
def test_the_exit_code_is_that_of_all_who_are_missing(study, codes, expected):
    for label, code in zip(("01", "02", "03", "10"), codes, strict=True):
        log(study[1], f"1_{label}", label, code)
    assert read_cohort(*study).exit_code == expected


SAID = {
    "the supervisor": supervisor._MEMORY,
    "a worker": KILLED,
    "an allocation": str(curable(MemoryError())),
    "an image": "a.nii.gz: 9 needs 9.0 GB of memory, more than the 1 GB of its job",
    "Slurm, sampled": "slurmstepd: error: StepId=1.batch exceeded memory limit (9 > 5)",
    "Slurm, control groups": "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.batch",
    "Slurm, state": "slurmstepd: error: *** JOB 1 OUT_OF_MEMORY ***",
}


@pytest.mark.parametrize("who", SAID)
def test_twice_the_memory_where_memory_was_the_reason(study, who):
    data, logs = study
    log(logs, "1_0", "01", 0)
    log(logs, "1_1", "02", None if "Slurm" in who else 1, memory=3000, said=SAID[who])
    log(logs, "1_2", "03", 1, memory=3000)
    assert list(plan(read_cohort(data, logs))) == ["02\t6000", "03\t3000", "10\t0"]
    assert read_cohort(data, logs).reason("02") == "too little memory (3000 MB)"


def test_a_run_that_got_over_it_is_finished(study):
    log(study[1], "1_0", "01", 0, said=OUT_OF_MEMORY[0])
    assert read_cohort(*study).unfinished == ("02", "03", "10")


def test_who_has_lost_the_outputs_is_not_finished(study, tmp_path):
    data, logs = study
    log(logs, "1_0", "01", 0)
    log(logs, "1_1", "02", 0)
    (tmp_path / "out" / "sub-01").mkdir(parents=True)
    assert read_cohort(data, logs, tmp_path / "out").unfinished == ("02", "03", "10")


def test_the_command_names_who_is_missing_and_writes_the_plan(study, tmp_path, capsys):
    data, logs = study
    log(logs, "1_0", "01", 0)
    log(logs, "1_1", "02", 65)
    log(logs, "1_2", "03", 65)
    log(logs, "1_3", "10", 0)
    words = ["cohort", str(data), "--logs", str(logs), "--unfinished", str(tmp_path / "plan.tsv")]
    assert toolbox.main(words) == 65
    said = capsys.readouterr().out
    assert "2 of 4 participants are finished, 2 are not." in said
    assert "Missing, exit code 65: sub-02, sub-03." in said
    assert f"see {logs}/1_1.out and 1 more" in said
    assert (tmp_path / "plan.tsv").read_text() == "02\t4000\n03\t4000\n"


def test_odd_logs_are_no_obstacle(study):
    data, logs = study
    log(logs, "1_0", "01", 0)
    (logs / "1_1.out").write_bytes(b"\xff\xfe\0 bids_brnn-task start participant=02\n")
    (logs / "1_2.out").write_text("bids_brnn-task start time=x\nbids_brnn-task end code=y\n")
    (logs / "1_3.out").write_text("bids_brnn-task end participant=03 time=x code=0\n")
    assert read_cohort(data, logs).unfinished == ("02", "03", "10")


def test_a_log_that_is_no_file_or_holds_no_numbers_costs_only_itself(study):
    data, logs = study
    log(logs, "1", "01", 0)
    (logs / "0.out").mkdir()
    os.mkfifo(logs / "2.out")
    (logs / "3.out").symlink_to("/dev/zero")
    (logs / "4.out").symlink_to("nowhere")
    log(logs, "5", "02", "9" * 5000, memory="8" * 400)
    cohort = read_cohort(data, logs)
    assert cohort.unfinished == ("02", "03", "10")
    assert cohort.memory_mb("02") == 0
    assert len(cohort.notes) == 4
    assert all("is left aside" in note for note in cohort.notes)
    assert set(cohort.notes) < set(summary(cohort))
