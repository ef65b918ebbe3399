"""The image by its own recipe in a fresh Debian: what is in it, and what it needs to write to."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location(
    "debian_root", Path(__file__).with_name("debian_root.py")
)
debian_root = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(debian_root)

DEMO = ("demo", "demo", "--participants", "1", "--matrix", "8", "10", "1", "--kinds", "mrf")
SHARE = "opt/bids_brnn/share"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The last stage of the Dockerfile; TORCH_INDEX and WITH_MRTRIX of this environment count."""
    if reason := debian_root.why_not():
        pytest.skip(f"no Debian root of its own: {reason}")
    return debian_root.Image(tmp_path_factory.mktemp("image"), ROOT)


@pytest.fixture(scope="module")
def data(image, tmp_path_factory):
    """A phantom of one participant, made by the image; nobody may write to it."""
    folder = tmp_path_factory.mktemp("phantom")
    folder.chmod(0o777)
    done = image.run("brnn", *DEMO, "--data-only", places=[(folder, "/here")], cwd="/here")
    assert done.returncode == 0, done.stderr
    return folder / "demo"


@pytest.fixture
def place(tmp_path):
    """A folder that the user of the image may write to, by name."""

    def make(name):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
        return tmp_path / name

    return make


def test_both_commands_and_what_options_need_are_there(image):
    for command in ("bids_brnn", "brnn", "env DENO_DIR=/tmp/deno bids-validator-deno"):
        done = image.run(*command.split(), "--version")
        assert done.returncode == 0, done.stderr
    done = image.run("python", "-c", "import deepbet, pyarrow, sys; print(sys.prefix)")
    assert done.stdout.strip() == "/opt/bids_brnn"


def test_what_ships_is_listed_with_its_licence(image):
    parts = json.loads((image.root / SHARE / "sbom.cdx.json").read_text())["components"]
    listed = {part["name"].lower().replace("_", "-") for part in parts}
    rows = (image.root / SHARE / "licences.tsv").read_text().splitlines()[1:]
    cells = [row.split("\t") for row in rows]
    assert {name.lower().replace("_", "-") for name, *_ in cells} <= listed | {"bids-brnn"}
    assert {"torch", "numpy", "nipype"} <= listed
    assert all(licence for _, _, licence, _ in cells)
    sizes = [int(size) for *_, size in cells]
    assert sizes == sorted(sizes, reverse=True)
    assert not list((image.root / "opt/bids_brnn/bin").glob("pip*"))  # nothing is installed later


def test_the_demo_runs_without_rights_or_home_where_only_tmp_can_be_written(image):
    done = image.run("sh", "-ec", f'test -z "$HOME"; brnn {" ".join(DEMO)}; ls demo/derivatives/*')
    assert done.returncode == 0, done.stderr
    assert "Maps against the truth" in done.stdout
    assert "sub-01.html" in done.stdout
    assert "Traceback" not in done.stderr
    assert "validator could not run" not in done.stderr


def test_output_and_work_folder_are_enough(image, data, place):
    """Not even ``/tmp`` can be written."""
    out, work = place("out"), place("work")
    places = [(data, "/data"), (out, "/out"), (work, "/work")]
    for level in ("participant", "group"):
        options = ("--modality", "mrf", "--sloppy") if level == "participant" else ()
        done = image.run(
            "bids_brnn", "/data", "/out", level, "-w", "/work", *options,
            places=places, writable_tmp=False, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert list(out.rglob("*_T1map.nii.gz"))
    assert (out / "group.html").exists()


NOWHERE = {
    "toolbox": (["brnn", *DEMO], "demo"),
    "output": (["bids_brnn", "/data", "/out", "participant", "-w", "/work"], "/out"),
    "work": (["bids_brnn", "/data", "/here", "participant", "-w", "/work"], "/work"),
    "work by default": (["bids_brnn", "/data", "/here", "participant"], "/work"),
}


@pytest.mark.parametrize("what", NOWHERE)
def test_nothing_to_write_to_is_a_sentence(image, data, place, what):
    words, named = NOWHERE[what]
    done = image.run(
        *words, places=[(data, "/data"), (place("here"), "/here")], writable_tmp=False, cwd="/"
    )
    assert done.returncode == 73, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert named in last
    assert "Read-only file system" in last


@pytest.mark.parametrize("option", [["--denoise", "dwidenoise"], ["--degibbs"]])
def test_options_whose_programs_are_not_inside_say_so(image, data, place, option):
    if image.arguments["WITH_MRTRIX"] == "1":
        pytest.skip("this image has MRtrix3")
    done = image.run(
        "bids_brnn", "/data", "/out", "participant", "-w", "/tmp/work", *option,
        places=[(data, "/data"), (place("out"), "/out")],
    )  # fmt: skip
    assert done.returncode not in (0, 1), done.stderr
    assert "MRtrix" in done.stderr
    assert "Traceback" not in done.stderr
