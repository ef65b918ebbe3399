import os
import shutil
import threading
from pathlib import Path

import pytest

from bids_brnn import files
from bids_brnn.errors import EXIT_NOT_WRITABLE, OutputError
from bids_brnn.files import (
    file_state,
    folders_synced_once,
    make_folder,
    replacing,
    write_bytes,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_whole_and_nothing_else_stays(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "grün")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "grün".encode()
    assert names(tmp_path / "new") == ["a.txt"]


def test_failure_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        assert temporary.name.endswith("a.nii.gz")
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.nii.gz"]


def test_equal_content_is_not_written_again(tmp_path):
    path = tmp_path / "a"
    write_bytes(path, b"same")
    os.utime(path, (1, 1))
    write_bytes(path, b"same")
    assert path.stat().st_mtime == 1
    write_bytes(path, b"else")
    assert path.stat().st_mtime > 1


def test_a_file_in_the_way_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(OutputError, match=r"Cannot write .*a/b: ") as caught:
        write_text(tmp_path / "a" / "b", "y")
    assert caught.value.exit_code == EXIT_NOT_WRITABLE


def test_full_disk_is_an_output_error_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match="No space left"), replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


@pytest.fixture
def synced(monkeypatch):
    """Names of what the disk was asked to keep, in order."""
    names = []
    monkeypatch.setattr(files.os, "fsync", lambda handle: names.append(_name_of(handle)))
    return names


def _name_of(handle):
    name = Path(f"/proc/self/fd/{handle}").readlink().name
    return "file" if name.startswith(".tmp-") else name


def test_the_disk_is_asked_for_each_file_and_its_folder_but_once_for_the_folder_of_a_step(
    tmp_path, synced
):
    (folder := tmp_path / "anat").mkdir()
    write_text(folder / "a", "1")
    assert synced == ["file", "anat"]
    synced.clear()
    with folders_synced_once():
        write_text(folder / "b", "1")
        write_text(folder / "c", "1")
    assert synced == ["file", "file", "anat"]
    synced.clear()
    write_text(folder / "d", "1")
    assert synced == ["file", "anat"]


def test_folders_are_synced_when_a_step_fails_and_may_be_gone(tmp_path, synced):
    (folder := tmp_path / "anat").mkdir()
    with pytest.raises(KeyError), folders_synced_once():
        write_text(folder / "a", "1")
        write_text(tmp_path / "gone" / "a", "1")
        shutil.rmtree(tmp_path / "gone")
        raise KeyError
    assert sorted(synced) == ["anat", "file", "file"]


def test_what_is_made_again_when_it_is_damaged_waits_for_no_disk(tmp_path, synced):
    write_text(tmp_path / "a", "1", lasting=False)
    assert (tmp_path / "a").read_text() == "1"
    assert synced == []


def test_readers_never_see_a_mixture(tmp_path):
    path = tmp_path / "a"
    contents = [bytes([value]) * 100_000 for value in range(2)]
    write_bytes(path, contents[0])
    stop = threading.Event()

    def work(content):
        while not stop.is_set():
            write_bytes(path, content)

    writers = [threading.Thread(target=work, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    seen = [path.read_bytes() for _ in range(300)]
    stop.set()
    for writer in writers:
        writer.join()
    assert set(seen) <= set(contents)


@pytest.mark.parametrize("name", ["sub-01", "sub-01/anat", "logs"])
def test_nothing_is_written_through_a_link_inside_a_data_set(tmp_path, name):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for folder in (out, elsewhere):
        folder.mkdir()
    (out / "dataset_description.json").write_text("{}")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).symlink_to(elsewhere)
    for target in (out / name / "x.txt", out / name / "anat" / "log" / "x.txt"):
        with pytest.raises(OutputError, match=rf"{name} is a link, to .*elsewhere"):
            write_text(target, "text")
    with pytest.raises(OutputError, match="is a link"):
        make_folder(out / name / "new")
    assert not list(elsewhere.iterdir())


def test_the_root_of_a_data_set_may_be_a_link_and_a_linked_file_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "dataset_description.json").write_text("{}")
    (tmp_path / "out").symlink_to("real")
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (tmp_path / "out" / "x.txt").symlink_to(secret)
    write_text(tmp_path / "out" / "x.txt", "text")
    assert secret.read_text() == "mine"
    assert (tmp_path / "real" / "x.txt").read_text() == "text"


def test_a_pipe_in_the_place_of_an_output_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "x.txt")
    write_text(tmp_path / "x.txt", "")
    assert (tmp_path / "x.txt").read_text() == ""


def test_the_state_of_a_file_changes_with_its_content_also_behind_a_link(tmp_path):
    file, link = tmp_path / "a", tmp_path / "b"
    link.symlink_to(file)
    assert file_state(link) == ()
    file.write_text("1")
    before = file_state(link)
    assert before == file_state(file)
    replacement = tmp_path / "c"
    replacement.write_text("2")  # as long, and perhaps as old
    replacement.replace(file)
    assert file_state(link) != before
