import pytest

from bids_brnn.reports.sharing import command_line, places, shareable

STORED = """
[bids_brnn]
bids_dir = "/home/jane/study"
output_dir = "/home/jane/study/derivatives/bids_brnn"
analysis_level = "participant"
participant_label = ["01"]
registration = "rigid"
work_dir = "/scratch/jane/work"
mask = "/home/jane/masks/m.nii.gz"
low_mem = true
denoise = "none"

[bids_brnn.derivatives]
fmriprep = "/data/jane/fmriprep"
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/jane/study/sub-01/anat/x.nii.gz: broken", "bids:raw:sub-01/anat/x.nii.gz: broken"),
        ("'/home/jane/study/derivatives/bids_brnn/x'", "'bids::x'"),
        ("in /home/jane/study.", "in bids:raw:."),
        ("/home/jane/study2/x.nii", ".../x.nii"),
        ("/home/jane", "~"),
        ("/root and /root/.cache/a/b.py", "~ and .../b.py"),
        ("/scratch/jane/work/a/b", "WORK/a/b"),
        ("node7:/mnt/disk/a b", "node7:.../a b"),
        ("file:///data/u/x", ".../x"),
        ("https://doi.org/10.1002/mrm.29071 n/a, 1/s, GM/WM (1/s)",) * 2,
        ("bids:raw:sub-01/anat/x, sub-01/anat/y", "bids:raw:sub-01/anat/x, sub-01/anat/y"),
    ],
)
def test_paths_become_uris_or_names(text, expected):
    assert shareable(text, places(STORED)) == expected


def test_the_name_of_the_host_is_left_out(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "node-17.lab")
    assert shareable("on node-17.lab: killed", {}) == "on HOST: killed"
    monkeypatch.setattr("socket.gethostname", lambda: "mri")  # a word of every page
    assert shareable("mri data", {}) == "mri data"


def test_the_command_line_holds_what_differs_from_the_defaults():
    found = command_line(STORED)
    assert found.startswith("bids_brnn bids:raw: bids:: participant --participant-label 01 ")
    assert "fmriprep=bids:fmriprep:" in found
    assert "--low-mem" in found
    assert "--registration" not in found
    assert "jane" not in found
    assert command_line("no = [toml") == command_line("") == ""
