"""The folders of a run: private, locked, and never the one the program was started in."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from bids_brnn.app import folders as run_folders
from bids_brnn.app import validation
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import InvalidBidsError, OutputError, TemporaryError
from bids_brnn.files import WRITER_VARIABLE


@pytest.fixture
def config(tmp_path):
    return RunConfig(
        bids_dir=tmp_path / "ds", output_dir=tmp_path / "out", work_dir=tmp_path / "work"
    )


def test_the_work_folder_depends_on_program_data_and_output(config, tmp_path, monkeypatch):
    first = run_folders.base_folder(config)
    assert run_folders.base_folder(config) == first
    changes = {"bids_dir": tmp_path / "ds2", "output_dir": tmp_path / "out2"}
    for name, value in changes.items():
        other = RunConfig(**{**vars(config), name: value})
        assert run_folders.base_folder(other) != first
    other = RunConfig(**{**vars(config), "participant_label": ("02",), "level": "minimal"})
    assert run_folders.base_folder(other) == first
    monkeypatch.setattr(run_folders, "code_digest", lambda: "another")
    assert run_folders.base_folder(config) != first


def test_the_work_folder_becomes_private(config):
    folder = run_folders.base_folder(config)
    folder.mkdir(parents=True, mode=0o777)
    folder.chmod(0o777)
    run_folders.make_private(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_work_folder_of_another_user_is_refused(config, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(OutputError, match="belongs to another user"):
        run_folders.make_private(run_folders.base_folder(config))


def test_checking_the_output_leaves_nothing(tmp_path):
    run_folders.check_output(tmp_path / "a" / "out")
    assert list((tmp_path / "a" / "out").iterdir()) == []


def test_many_jobs_check_one_output_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(run_folders.check_output, tmp_path / "out") for _ in range(200)]:
            done.result()
    assert list((tmp_path / "out").iterdir()) == []


def test_we_come_back_to_where_we_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    with pytest.raises(KeyError), run_folders.inside(tmp_path / "inner"):
        assert Path.cwd() == tmp_path / "inner"
        raise KeyError
    assert Path.cwd() == tmp_path


def test_a_lost_current_folder_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # so that pytest gets back
    (tmp_path / "gone").mkdir()
    (tmp_path / "inner").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with run_folders.inside(tmp_path / "inner"):
        assert Path.cwd() == tmp_path / "inner"


def test_a_participant_is_worked_on_once_at_a_time(tmp_path):
    with run_folders.locked(tmp_path, ["01", "02"]):
        with pytest.raises(TemporaryError, match="sub-02"), run_folders.locked(tmp_path, ["02"]):
            pass
        with run_folders.locked(tmp_path, ["03"]):
            pass
    with run_folders.locked(tmp_path, ["02"]):
        pass


def test_files_of_a_killed_run_are_removed_and_those_of_others_stay(tmp_path, monkeypatch):
    out, base = tmp_path / "out", tmp_path / "base"
    base.mkdir()
    (base / "sub-01.lock").write_text("abc123")  # its process is gone, or the lock would be held
    monkeypatch.setenv(WRITER_VARIABLE, "fed321")
    left = [out / "sub-01" / "anat", out / "logs", out, base / "dictionaries"]
    for folder in left:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".tmp-abc123ffffff-map.nii.gz").write_text("half")
        (folder / ".tmp-000000ffffff-map.nii.gz").write_text("being written by others")
    with run_folders.locked(base, ["01"]) as killed:
        assert killed == {"01": "abc123"}
        assert (base / "sub-01.lock").read_text() == "fed321"
        run_folders.clear_leftovers(out, base, killed)
    for folder in left:
        assert [path.name[:11] for path in folder.glob(".tmp-*")] == [".tmp-000000"]
    with run_folders.locked(base, ["01"]) as killed:
        assert killed == {}  # a run that is through left none


@pytest.mark.parametrize("text", ["*", "../../x", "abc12*", "abc123\n"])
def test_a_lock_that_says_anything_else_removes_nothing(tmp_path, text):
    (tmp_path / "sub-01.lock").write_text(text)
    with run_folders.locked(tmp_path, ["01"]) as killed:
        assert killed == {}


def test_cleaning_spares_other_participants_and_files_of_others(config):
    base = run_folders.base_folder(config)
    older = config.work_dir / "bids_brnn-older"
    for folder in (base, older):
        for name in ("sub_01_wf", "sub_02_wf"):
            (folder / "bids_brnn" / name / "step").mkdir(parents=True)
    (config.work_dir / "mine").mkdir()
    run_folders.clean(config, base / "bids_brnn" / "sub_01_wf")
    left = sorted(p.relative_to(config.work_dir).parts[0] + "/" + p.name
                  for p in config.work_dir.glob("*/bids_brnn/*"))  # fmt: skip
    assert left == sorted(f"{folder.name}/sub_02_wf" for folder in (base, older))
    assert (config.work_dir / "mine").is_dir()


def test_work_of_another_version_is_named(config, tmp_path):
    base = run_folders.base_folder(config)
    base.mkdir(parents=True)
    assert run_folders.older_note(config) is None
    place = base.name.rpartition("-")[2]
    older = config.work_dir / f"bids_brnn-0123456789ab-{place}"
    older.mkdir()
    (config.work_dir / "bids_brnn-0123456789ab-00000000").mkdir()  # of another data set
    assert run_folders.older_note(config) == (
        f"work of another version of this program is not used and may be deleted: {older}"
    )
    assert older.is_dir()


class Series:
    """As much of an acquisition as the validation looks at."""

    def __init__(self, root):
        self.images = [root / "sub-01" / "anat" / "sub-01_MRF.nii.gz"]
        self.tables = {"rfpulses": root / "rfpulses.tsv"}
        self.supplied = {}


class Found:
    def __init__(self, root):
        self.acquisitions = (Series(root),)


@pytest.fixture
def issues(monkeypatch):
    listed = []
    monkeypatch.setattr(validation, "find_program", lambda: "validator")

    @contextmanager
    def validator(program, folder):
        yield lambda: listed

    monkeypatch.setattr(validation, "validator", validator)
    return listed


def validate(folder, found):
    with validation.validation(folder) as judge:
        judge(found)


def test_an_error_in_a_file_that_is_used_stops(tmp_path, issues):
    issues.append(
        {"code": "EMPTY_FILE", "location": "/sub-01/anat/sub-01_MRF.nii.gz", "severity": "error"}
    )
    with pytest.raises(InvalidBidsError, match=r"sub-01_MRF\.nii\.gz: EMPTY_FILE") as refusal:
        validate(tmp_path, Found(tmp_path))
    assert refusal.value.exit_code == 16


def test_an_error_elsewhere_is_counted(tmp_path, issues, caplog):
    issues.append({"code": "EMPTY_FILE", "location": "/sub-02/x.nii", "severity": "error"})
    validate(tmp_path, Found(tmp_path))
    assert "1 errors in files that are not used" in caplog.text


def test_a_validator_that_breaks_is_no_obstacle(tmp_path, monkeypatch, caplog):
    broken = tmp_path / "validator"
    broken.write_text("#!/bin/sh\necho nonsense\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(validation, "find_program", lambda: str(broken))
    validate(tmp_path, Found(tmp_path))
    assert "could not run" in caplog.text


def test_the_validator_runs_without_a_home(tmp_path, monkeypatch, caplog):
    """Deno ends where it finds no place for its files, though it needs none."""
    for name in ("DENO_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    picky = tmp_path / "validator"
    picky.write_text(
        '#!/bin/sh\n[ -n "$DENO_DIR" ] || { echo "error: no cache directory" >&2; exit 1; }\n'
        'echo "{\\"issues\\": {\\"issues\\": []}}"\n'
    )
    picky.chmod(0o755)
    assert validation.run_validator(str(picky), tmp_path) == []
    assert not caplog.text
    picky.write_text("#!/bin/sh\necho 'error: no rights' >&2\nexit 1\n")
    validation.run_validator(str(picky), tmp_path)
    assert "could not run (error: no rights)" in caplog.text


def test_the_validator_works_meanwhile_and_ends_with_a_search_that_fails(tmp_path, monkeypatch):
    slow = tmp_path / "validator"
    slow.write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid\nexec sleep 600\n"
    )
    slow.chmod(0o755)
    monkeypatch.setattr(validation, "find_program", lambda: str(slow))
    end = time.monotonic() + 60
    with pytest.raises(KeyError), validation.validation(tmp_path):
        while not (tmp_path / "pid").exists() and time.monotonic() < end:
            time.sleep(0.01)
        raise KeyError
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_validator_that_cannot_start_is_no_obstacle(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(validation, "find_program", lambda: str(tmp_path))  # a folder
    validate(tmp_path, Found(tmp_path))
    assert "could not run" in caplog.text


def test_an_absent_validator_is_said(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "bids_brnn")
    monkeypatch.setattr(validation, "find_program", lambda: None)
    validate(tmp_path, Found(tmp_path))
    assert "is not installed" in caplog.text


def test_the_real_validator_is_understood(tmp_path):
    program = validation.find_program()
    if program is None:
        pytest.skip("bids-validator-deno is not installed")
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.11.1"}')
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    (tmp_path / "sub-01" / "anat" / "sub-01_nonsense.nii.gz").write_bytes(b"")
    errors = validation.run_validator(program, tmp_path)
    assert any(e["location"] == "/sub-01/anat/sub-01_nonsense.nii.gz" for e in errors)


def test_a_work_folder_that_is_a_link_is_refused(config, tmp_path):
    (tmp_path / "mine").mkdir(mode=0o755)
    folder = run_folders.base_folder(config)
    folder.parent.mkdir(parents=True)
    folder.symlink_to(tmp_path / "mine")
    with pytest.raises(OutputError, match="is a link"):
        run_folders.make_private(folder)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o755
