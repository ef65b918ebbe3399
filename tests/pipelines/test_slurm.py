"""The scripts on a real Slurm of one node; what happened is read from logs and asked of Slurm."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
STEPS = {"Start": 1, "End": -1}


def content(out: Path) -> dict[str, str]:
    """SHA-256 by name of everything but what is declared to tell of the run.

    Those are the folders ``logs`` and ``log``, and the record of the run in a participant's page.
    """
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and not {"log", "logs"} & {*path.relative_to(out).parts}:
            data = path.read_bytes()
            if path.suffix == ".html":
                data = re.sub(rb"<pre\b.*?</pre>", b"", data, flags=re.DOTALL)
            found[path.relative_to(out).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


def at_once(jobs) -> int:
    """Most jobs that ran at the same time, by what Slurm knows of them."""
    moments = sorted((job[f"{key}Time"], step) for job in jobs for key, step in STEPS.items())
    return max(sum(step for _, step in moments[: i + 1]) for i in range(len(moments)))


def test_a_study_with_faults_ends_as_one_without(study, tmp_path):
    """Array of four, two at a time; one has bad data, one too little memory; then both again."""
    study.data = Path(shutil.copytree(study.data, tmp_path / "my study"))
    image = next((study.data / "sub-02" / "anat").glob("*_MRF.nii.gz"))
    good = image.read_bytes()
    image.write_bytes(good[:200])
    hungry = study.fault("hungry-03")

    jobs = study.submit()
    assert len(jobs) == 2  # one array, one job for the group
    code, said = study.group(jobs)
    assert "2 of 4 participants are finished, 2 are not." in said
    assert "Missing, exit code 74: sub-02." in said
    assert "Missing, too little memory (1500 MB): sub-03." in said
    assert code == "1"  # two reasons
    assert "Traceback" not in said
    assert at_once(study.slurm.job(f"{jobs[0]}_{task}") for task in range(4)) == 2
    folder = next(study.work.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["sub-02", "sub-03"]

    image.write_bytes(good)
    again = study.submit("--resubmit")
    code, said = study.group(again)
    assert (code, "4 of 4 participants are finished" in said) == ("0", True), said
    memory = {}
    for job in again[:-1]:
        (name,) = re.findall("start participant=([0-9]+)", study.log(f"{job}_0"))
        memory[name] = study.slurm.job(f"{job}_0")["MinMemoryNode"]
    assert memory == {"02": "1500M", "03": "3000M"}
    assert not list(folder.iterdir())  # work of the finished is removed
    assert hungry.exists()

    assert content(study.out) == content(study.without_slurm())
    done = study.submit("--resubmit", check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "every participant is finished" in done.stderr


def test_a_requeued_task_goes_on_where_it_was(study):
    jobs = study.submit("-p", "01", program=("--modality", "mrf"))
    task, log = f"{jobs[0]}_0", study.out / "logs" / "slurm" / f"{jobs[0]}_0.out"
    until(lambda: "dict: " in read(log), "the estimate")
    study.slurm.ask("scontrol", "requeue", task)
    study.slurm.wait(task, "PENDING")
    study.slurm.ask("scontrol", "update", f"jobid={task}", "StartTime=now")
    code, _ = study.group(jobs)
    assert code == "0"
    first, _, second = read(log).partition("restart=1")
    assert "voxels from the mask" in first
    assert "dict: done in" not in first
    assert "voxels from the mask" not in second  # prepared before, and kept
    assert "dict: done in" in second
    assert "code=0" in second


def test_a_task_is_stopped_before_its_time_limit_and_finished_by_the_next(study):
    slow = study.fault("slow-01", "300")
    jobs = study.submit("-p", "01", "--time", "1")
    code, said = study.group(jobs)
    assert code == "143"
    assert "Missing, ended before its time: sub-01." in said
    assert study.slurm.job(f"{jobs[0]}_0")["ExitCode"].startswith("143")
    (kept,) = next(study.work.iterdir()).iterdir()
    assert kept.name == "sub-01"
    slow.unlink()
    code, said = study.group(study.submit("-p", "01", "--resubmit"))
    assert (code, "1 of 1 participants" in said) == ("0", True), said


def test_of_two_tasks_for_one_participant_the_second_is_turned_away(study, tmp_path):
    first = study.submit("-p", "01", program=("--modality", "mrf"))
    second = study.submit(
        "-p", "01", program=("--modality", "mrf"), work=tmp_path / "another work folder"
    )
    again = study.submit("-p", "01", "--resubmit", check=False)
    assert again.returncode == 2
    assert " of this study is still in the queue; wait for it" in again.stderr
    for jobs in (first, second):
        study.slurm.wait(f"{jobs[0]}_0")
    texts = [study.log(f"{jobs[0]}_0") for jobs in (first, second)]
    assert sorted(re.findall(r"code=(\d+)", "".join(texts))) == ["0", "75"]
    (turned_away,) = [text for text in texts if "code=75" in text]
    assert "Another run works on sub-01" in turned_away
    assert not list((study.out / "logs").glob(".*.lock"))


def test_networks_are_trained_first_and_nothing_runs_without_them(study):
    old = study.fault("old")
    refused = study.submit("--train", check=False)
    assert refused.returncode == 2
    assert "has no --train-missing" in refused.stderr
    old.unlink()
    study.fault("train", "0")
    jobs = study.submit("--train", "-p", "01")
    assert len(jobs) == 3
    assert study.group(jobs)[0] == "0"
    assert (study.out / "trained").exists()
    assert study.slurm.job(jobs[0])["EndTime"] <= study.slurm.job(f"{jobs[1]}_0")["StartTime"]
    study.fault("train", "65")
    jobs = study.submit("--train", "-p", "02")
    code, said = study.group(jobs)
    assert (code, "Missing, did not start: sub-02." in said) == ("1", True), said
    assert study.slurm.job(f"{jobs[1]}_0")["JobState"] == "CANCELLED"


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def until(holds, what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.1)
