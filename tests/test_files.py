import os
import threading

import pytest

from bids_brnn.errors import EXIT_NOT_WRITABLE, OutputError
from bids_brnn.files import replacing, write_bytes, write_text


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
