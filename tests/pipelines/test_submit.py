"""What ``submit.sh`` says and submits, and what its jobs call; ``sbatch`` is a stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUBMIT = ROOT / "pipelines" / "submit.sh"
PARTICIPANT = ROOT / "pipelines" / "slurm" / "participant.sbatch"


class Site:
    """Folders of a study, and commands that keep what they were called with."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.data, self.out, self.work = folder / "my data", folder / "out", folder / "work"
        for label in ("01", "02", "03"):
            (self.data / f"sub-{label}").mkdir(parents=True)
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.command("brnn", 'cd "$2"; for f in sub-*; do echo "${f#sub-}"; done')
        self.command(
            "sbatch", f'printf "%s\\n" "$*" >> {folder}/sbatch.txt; wc -l < {folder}/sbatch.txt'
        )
        self.command("squeue", "true")
        self.command("scontrol", "echo MaxArraySize = 1001")
        kept = {name: text for name, text in os.environ.items() if not name.startswith("SLURM")}
        self.environment = {**kept, "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def command(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/bash\n{text}\n")
        (self.bin / name).chmod(0o755)

    def use_the_program(self) -> None:
        module = "bids_brnn.cli.toolbox.main"
        self.command("brnn", f'PYTHONPATH={ROOT} exec {sys.executable} -m {module} "$@"')

    def has_apptainer(self) -> None:
        """One that keeps what it was called with last and runs the command outside."""
        self.command(
            "apptainer",
            f'printf "%s\\n" "$@" > {self.folder}/apptainer.txt\n'
            'while [[ $1 != *.sif ]]; do shift; done; "${@:2}"',
        )

    def submit(self, *options, after=()):
        return subprocess.run(
            [SUBMIT, "-w", self.work, *options, self.data, self.out, *after],
            env=self.environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    @property
    def sent(self) -> list[str]:
        file = self.folder / "sbatch.txt"
        return file.read_text().splitlines() if file.exists() else []

    def task(self, index=0, **environment):
        """Start the first array of the last submission as Slurm would, outside of it."""
        words = next(line for line in reversed(self.sent) if "participant.sbatch" in line)
        settings, labels, first = words.rpartition("participant.sbatch ")[2].split(" ")
        granted = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_CPUS_PER_TASK": "3"}
        return subprocess.Popen(
            ["bash", PARTICIPANT, settings, labels, first],
            env={**self.environment, **granted, "SLURM_MEM_PER_NODE": "8192", **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def called(self, *, code=0, index=0, **environment) -> tuple[list[str], str, int]:
        """What a task calls the program with, what it says and its exit code."""
        self.command("bids_brnn", f'printf "%s\\n" "$@" > {self.folder}/called.txt; exit {code}')
        task = self.task(index, **environment)
        said = "".join(task.communicate(timeout=30))
        file = self.folder / "called.txt"
        return file.read_text().splitlines() if file.exists() else [], said, task.returncode


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_participants_are_counted_from_the_data_set(site):
    site.use_the_program()
    (site.data / "participants.tsv").write_bytes(b"participant_id\r\nsub-01\r\n#\r\nsub-99")
    done = site.submit("--limit", "2", "--mem", "8G", "--cpus", "3", "--sbatch=--partition=long")
    assert done.returncode == 0, done.stderr
    array, group = site.sent
    assert "--array=0-2%2 " in array
    assert "--mem=8192 " in array
    assert "--cpus-per-task=3 " in array
    assert "--partition=long " in array
    assert "--partition=long " in group
    assert "--dependency=afterany:1 " in group
    assert done.stdout == "1 2\n"


def test_a_large_study_is_cut_into_arrays_that_the_cluster_takes(site):
    for number in range(10):
        (site.data / f"sub-1{number}").mkdir()
    site.command("scontrol", "echo 'MaxArraySize            = 6'")
    assert site.submit().returncode == 0
    *arrays, group = site.sent
    assert [word for line in arrays for word in line.split() if "--array" in word] == [
        "--array=0-4%10", "--array=0-4%10", "--array=0-2%10",
    ]  # fmt: skip
    assert [line.rpartition(" ")[2] for line in arrays] == ["0", "5", "10"]
    assert ["afterany:1 " in arrays[1], "afterany:2 " in arrays[2]] == [True, True]
    assert "afterany:1:2:3 " in group
    words, _, _ = site.called(index=2)
    assert words[words.index("--participant-label") + 1] == "19"


def test_a_task_is_given_what_slurm_granted(site):
    prepared = site.folder / "fmri prep"
    prepared.mkdir()
    site.submit("-d", f"fmriprep={prepared}", after=["--", "--level", "minimal"])
    words, said, code = site.called(index=1)
    assert code == 0
    assert words[:5] == [str(site.data), str(site.out), "participant", "--participant-label", "02"]
    given = dict(zip(words[5::2], words[6::2], strict=True))
    assert (given["--nprocs"], given["--mem-mb"]) == ("3", str(8192 * 9 // 10))
    assert given["--derivatives"] == f"fmriprep={prepared}"
    assert given["--level"] == "minimal"
    assert Path(given["--config-file"]).read_text() == (SUBMIT.parent / "config.toml").read_text()
    assert not Path(given["-w"]).exists()  # work of the finished is removed
    assert "memory=8192\n" in said
    assert said.endswith("code=0\n")


def test_work_of_the_unfinished_is_kept(site):
    site.submit()
    words, said, code = site.called(code=65)
    assert code == 65
    assert said.endswith("code=65\n")
    assert Path(words[words.index("-w") + 1]).is_dir()


@pytest.mark.parametrize(
    ("granted", "expected"),
    [
        ({"SLURM_MEM_PER_NODE": "", "SLURM_MEM_PER_CPU": "2000"}, str(3 * 2000 * 9 // 10)),
        ({"SLURM_MEM_PER_NODE": "0"}, None),
        ({"SLURM_MEM_PER_NODE": ""}, None),
    ],
)
def test_memory_by_cpu_and_of_a_whole_node(site, granted, expected):
    site.submit()
    words, _, code = site.called(**granted)
    assert code == 0
    assert (words[words.index("--mem-mb") + 1] if "--mem-mb" in words else None) == expected


def test_too_little_memory_is_a_sentence_before_and_in_the_job(site):
    done = site.submit("--mem=800")
    assert done.returncode == 2
    assert "800 MB of memory are granted, and the program needs 1000 at least" in done.stderr
    assert site.sent == []
    site.submit()
    words, said, code = site.called(SLURM_MEM_PER_NODE="800")
    assert (words, code) == ([], 2)
    assert "800 MB of memory are granted" in said


def test_an_image_sees_what_it_needs_and_a_gpu_only_where_there_is_one(site):
    prepared, atlas = site.folder / "fmriprep", site.folder / "atlas.nii"
    prepared.mkdir()
    atlas.touch()
    image = site.folder / "an image.sif"
    image.touch()
    site.has_apptainer()
    site.submit("-i", image, "-d", prepared, "--bind", atlas, after=["--", "--atlas", atlas])
    _, _, code = site.called()
    assert code == 0
    words = (site.folder / "apptainer.txt").read_text().splitlines()
    assert words[:2] == ["exec", "--cleanenv"]
    assert "--nv" not in words
    mounts = [words[i + 1] for i, word in enumerate(words) if word == "-B"]
    for path in (site.data, prepared, atlas):
        assert f"{path}:{path}:ro" in mounts
    assert f"{site.out}:{site.out}" in mounts
    assert any(mount.startswith(f"{site.work}/bids_brnn-") for mount in mounts)
    assert words[words.index(str(image)) + 1] == "bids_brnn"
    site.called(SLURM_JOB_GPUS="1", CUDA_VISIBLE_DEVICES="0")
    words = (site.folder / "apptainer.txt").read_text().splitlines()
    assert words[2:5] == ["--nv", "--env", "CUDA_VISIBLE_DEVICES=0"]


@pytest.mark.parametrize("engine", [True, False])
def test_the_group_job_uses_the_image_as_the_participants_do(site, engine):
    image = site.folder / "an image.sif"
    image.touch()
    site.has_apptainer()
    site.submit("-i", image)
    site.command("bids_brnn", f'printf "%s\\n" "$@" > {site.folder}/called.txt')
    site.command("brnn", "echo 3 of 3; exit 7")
    if not engine:
        (site.bin / "apptainer").unlink()
        site.environment["PATH"] = f"{site.bin}:/usr/bin:/bin"
    words = next(line for line in site.sent if "group.sbatch" in line)
    settings = words.rpartition("group.sbatch ")[2]
    done = subprocess.run(
        ["bash", PARTICIPANT.with_name("group.sbatch"), settings],
        env={**site.environment, "SLURM_MEM_PER_NODE": "4096"},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    called = site.folder / "called.txt"
    if engine:
        assert called.read_text().splitlines()[2] == "group"
        assert (done.returncode, "3 of 3" in done.stdout) == (7, True), done.stderr
        assert "an image.sif" in (site.folder / "apptainer.txt").read_text()
    else:
        assert (done.returncode, called.exists()) == (2, False)
        assert "there is neither apptainer nor singularity on" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_task_passes_the_end_on_and_keeps_its_work(site, number):
    site.submit()
    site.command(
        "bids_brnn",
        f"trap 'echo told > {site.folder}/told; exit 143' TERM; touch {site.folder}/started\n"
        "while :; do sleep 0.05; done",
    )
    task = site.task()
    end = time.monotonic() + 30
    while not (site.folder / "started").exists():
        assert task.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    task.send_signal(number)
    said, _ = task.communicate(timeout=30)
    assert task.returncode == 143
    assert said.endswith("code=143\n")
    assert (site.folder / "told").exists()
    assert list(site.work.glob("*/sub-01"))


REFUSED = {
    "no work folder": (["-w", ""], "give a work folder"),
    "no data": (["--derivatives", "x=/nowhere"], "--derivatives: there is no /nowhere"),
    "no image": (["-i", "/nowhere.sif"], "--image: there is no /nowhere.sif"),
    "no configuration": (["--config=/nowhere.toml"], "--config: there is no /nowhere.toml"),
    "a limit of none": (["--limit", "0"], "--limit 0: a whole number above 0 is needed"),
    "CPUs in words": (["--cpus", "two"], "--cpus two: a whole number above 0 is needed"),
    "memory in words": (["--mem", "much"], "--mem much: give whole MB, or GB as in 8G"),
    "an unknown option": (["--memory", "8G"], "--memory is no option"),
    "a value that is missing": (["--sbatch"], "give BIDS_DIR and OUTPUT_DIR"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_one_sentence_and_nothing_is_submitted(site, what):
    options, words = REFUSED[what]
    done = site.submit(*options)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert site.sent == []


def test_options_that_the_script_sets_are_refused(site):
    for word in ("-w", "--nprocs", "--mem-mb=3", "--participant-label", "--config-file", "-d"):
        done = site.submit(after=["--", word])
        assert (done.returncode, word in done.stderr) == (2, True)


def test_derivatives_beside_the_data_are_used_or_left_out_on_purpose(site):
    for name in ("fmriprep", "other one", "no data set"):
        (site.data / "derivatives" / name).mkdir(parents=True)
        if name != "no data set":
            (site.data / "derivatives" / name / "dataset_description.json").touch()
    folder = site.data / "derivatives"
    done = site.submit()
    assert done.returncode == 2
    assert f"-d fmriprep={folder}/fmriprep" in done.stderr
    assert "no data set" not in done.stderr
    assert site.submit("-d", f"fmriprep={folder}/fmriprep").returncode == 2
    assert site.submit("-d", folder / "fmriprep", "-d", folder / "other one").returncode == 0
    assert site.submit("--no-derivatives").returncode == 0
    site.out = folder / "other one"
    assert site.submit("-d", folder / "fmriprep").returncode == 0  # our own output


def test_a_stranger_among_the_participants_is_refused(site):
    site.use_the_program()
    done = site.submit("-p", "01", "-p", "sub-77")
    assert done.returncode == 18
    assert "sub-77: not in" in done.stderr
    assert site.sent == []


def test_a_refusal_of_the_cluster_is_told(site):
    site.command("sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    done = site.submit()
    assert done.returncode == 2
    assert "invalid partition" in done.stderr
    assert "sbatch refused, see above" in done.stderr


def test_a_dry_run_submits_nothing_and_leaves_nothing(site):
    done = site.submit("--dry-run")
    assert done.returncode == 0
    assert "sbatch --cpus-per-task=4" in done.stderr
    assert site.sent == []
    assert not list(site.out.rglob("*.txt"))


def test_without_slurm_it_is_a_sentence(site):
    (site.bin / "sbatch").unlink()
    tools = site.folder / "tools"
    tools.mkdir()
    for path in Path("/usr/bin").iterdir():  # what this machine has, but for a Slurm
        if path.name not in ("sbatch", "squeue", "scontrol"):
            (tools / path.name).symlink_to(path)
    site.environment["PATH"] = f"{site.bin}:{tools}"
    done = site.submit()
    assert done.returncode == 2
    assert "there is no sbatch" in done.stderr
