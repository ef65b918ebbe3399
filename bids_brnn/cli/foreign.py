"""Options and values of fMRIPrep and its relatives that this program does not have.

What cannot change the outputs is accepted with a note, so that scripts go on working; everything
else is refused with one sentence that says what to use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bids_brnn.errors import UsageError


@dataclass(frozen=True)
class Foreign:
    """One option, or several with one answer, by the names others give them."""

    flags: tuple[str, ...]
    says: str
    """What is done instead, or what to use."""
    harmless: bool = False
    """Whether it is accepted."""
    values: int = 0
    """Words that follow a harmless one."""


_FREESURFER = "FreeSurfer is not used"
_BOLD = "it is about BOLD or diffusion series; leave it out"
_ANATOMY = (
    "anatomy is taken from fMRIPrep or the like; run that with it, and give the result "
    "with --derivatives fmriprep=FOLDER"
)
_SURFACES = "maps are written in volumes only, see --output-spaces; leave it out"

FOREIGN: Sequence[Foreign] = (
    Foreign(("--fs-license-file",), _FREESURFER, harmless=True, values=1),
    Foreign(
        ("--fs-no-reconall", "--no-freesurfer", "--fs-no-resume", "--no-submm-recon", "--hires"),
        _FREESURFER,
        harmless=True,
    ),
    Foreign(
        ("--md-only-boilerplate",),
        "the methods text is Markdown and BibTeX only",
        harmless=True,
    ),
    Foreign(("--track-carbon", "--no-sub"), "nothing is sent or tracked", harmless=True),
    Foreign(("--country-code",), "nothing is sent or tracked", harmless=True, values=1),
    Foreign(
        ("--skull-strip-fixed-seed",), "equal options always give equal masks", harmless=True
    ),
    Foreign(
        ("--aggregate-session-reports",),
        "there is one page for a participant, and one per session with --session-label",
        harmless=True,
        values=1,
    ),
    Foreign(
        ("--skull-strip-t1w", "--skull-strip-template"),
        "use --skull-strip auto or --skull-strip skip, or a mask with --mask or --derivatives",
    ),
    Foreign(
        ("--fs-subjects-dir", "--freesurfer-input"),
        "folders of FreeSurfer are not read; give the output of fMRIPrep, which holds its labels, "
        "with --derivatives fmriprep=FOLDER",
    ),
    Foreign(("--atlases",), "give label images with --atlas NAME=FILE"),
    Foreign(("--recon-spec",), "options can stand in a TOML file, see --config-file"),
    Foreign(("--datasets",), "give derivative data sets with --derivatives NAME=FOLDER"),
    Foreign(("--input-type",), "give the data set with --derivatives NAME=FOLDER"),
    Foreign(("--output-resolution",), "use --output-spaces, such as T1w or TEMPLATE:res-2"),
    Foreign(("--template", "--anatomical-template"), "use --output-spaces TEMPLATE"),
    Foreign(("--denoise-method", "--dwi-denoise-window"), "use --denoise mppca or dwidenoise"),
    Foreign(("--unringing-method",), "use --degibbs"),
    Foreign(("--modalities",), "use --modality, or --bids-filter-file"),
    Foreign(("--session-id",), "use --session-label"),
    Foreign(("--subject-label", "--subject-id"), "use --participant-label"),
    Foreign(
        ("-t", "--task", "--task-id", "--task-label", "--run-id", "--echo-idx"),
        'choose series with --modality, or --bids-filter-file and {"qmt": {"acquisition": "..."}}',
    ),
    Foreign(("--mem-gb",), "use --mem 8G"),
    Foreign(("--n-procs", "--nproc", "--n-jobs", "--ncpus"), "use --nprocs"),
    Foreign(("--nipype-plugin", "--nipype-plugin-args"), "use --use-plugin FILE"),
    Foreign(("--gpu", "--use-gpu", "--cuda"), "use --device cuda"),
    Foreign(("--anat-only", "--dwi-only"), "choose series with --modality"),
    Foreign(("--longitudinal", "--subject-anatomical-reference", "--infant"), _ANATOMY),
    Foreign(
        ("--dummy-scans", "--dummy-vols"),
        "all frames are used; column readout of the pulse table says what they are",
    ),
    Foreign(
        ("--use-syn-sdc", "--force-syn"),
        "distortions are not corrected; a B0 map of the data set gives the off-resonance",
    ),
    Foreign(
        ("--cifti-output", "--medial-surface-nan", "--no-medial-surface-nan",
         "--project-goodvoxels", "--no-msm"),
        _SURFACES,
    ),
    Foreign(("--output-layout",), "outputs always have the BIDS layout; leave it out"),
    Foreign(
        ("--bold2t1w-init", "--bold2t1w-dof", "--bold2anat-init", "--bold2anat-dof",
         "--force-bbr", "--force-no-bbr", "--b0-to-t1w-transform", "--intramodal-template"),
        "use --registration rigid or --registration header",
    ),
    Foreign(("--force",), "nothing is to be forced here; leave it out"),
    Foreign(
        ("--slice-time-ref", "--use-aroma", "--aroma-melodic-dimensionality", "--ignore-aroma",
         "--aroma-err-on-warn", "--error-on-aroma-warnings", "--return-all-components",
         "--fd-spike-threshold", "--dvars-spike-threshold", "--topup-max-vols",
         "--me-t2s-fit-method", "--me-output-echos", "--hmc-model", "--hmc-transform",
         "--separate-all-dwis", "--m0-scale", "--basil", "--scorescrub", "--fd-thresh",
         "--smoothing", "--nuisance-regressors"),
        _BOLD,
    ),
)  # fmt: skip
"""What others have and this program does not; the home of all of it."""

VALUES: Mapping[tuple[str, str], tuple[str | None, str]] = {
    ("output_spaces", "anat"): ("T1w", ""),
    **{
        ("output_spaces", name): (None, "the grid of the series is always written")
        for name in ("func", "run", "bold", "boldref", "sbref", "native")
    },
    **{
        ("ignore", name): (None, "nothing of it is used here")
        for name in ("slicetiming", "sbref", "t2w", "flair", "fmap-jacobian", "phase")
    },
    **{
        ("debug", name): (None, "there is nothing of it here") for name in ("compcor", "fieldmaps")
    },
}
"""Values of options that others know: the value here, or None to leave it out, and the note."""

REFUSED: Mapping[tuple[str, str], str] = {
    ("ignore", "fieldmaps"): "name the maps to leave aside: b1map, b0map",
    ("level", "resampling"): "use minimal (maps) or full (also reference fit, regions, report)",
    ("skull_strip", "force"): "give no brain mask, or --ignore mask, and auto makes one",
    **{
        ("output_spaces", name): "surfaces are not supported; use T1w or a template"
        for name in ("fsaverage", "fsaverage5", "fsaverage6", "fsnative", "fsLR")
    },
}
"""Values that others know and that mean nothing here, and what to say."""


def without_foreign(words: Sequence[str], known: set[str]) -> tuple[list[str], list[str]]:
    """The words of a command line without harmless foreign options, and what to note of them.

    Parameters
    ----------
    words
        Of the command line.
    known
        Options of this program, which are never foreign.

    Raises
    ------
    UsageError
        For a foreign option that is not harmless.
    """
    kept: list[str] = []
    notes: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*kept, word, *rest], notes
        flag, equals, _ = word.partition("=")
        item = _foreign(flag.replace("_", "-"), known)
        if item is None:
            kept.append(word)
            continue
        if not item.harmless:
            raise UsageError(f"There is no {flag} here: {item.says}.")
        notes.append(f"{flag} is accepted and ignored: {item.says}.")
        if not equals:
            del rest[: item.values]
    return kept, notes


def _foreign(flag: str, known: set[str]) -> Foreign | None:
    """The foreign option of a flag, also of a long one cut short; None for one of ours."""
    if flag in known:
        return None
    meant = [item for item in FOREIGN if flag in item.flags]
    short = len(flag) <= len("--xx") or any(name.startswith(flag) for name in known)
    if not meant and not short:
        meant = [item for item in FOREIGN if any(name.startswith(flag) for name in item.flags)]
    return meant[0] if len(meant) == 1 else None


def own_values(name: str, given: Any) -> tuple[Any, list[str]]:
    """The value of an option with the words that others have for it replaced, and notes.

    Raises
    ------
    UsageError
        For a word that means nothing here.
    """
    single = isinstance(given, str)
    if not single and not isinstance(given, list | tuple):
        return given, []
    values: list[Any] = []
    notes: list[str] = []
    for word in [given] if single else given:
        flag = f"--{name.replace('_', '-')} {word}"
        if (name, word) in REFUSED:
            raise UsageError(f"There is no {flag} here: {REFUSED[name, word]}.")
        value, note = VALUES.get((name, word), (word, ""))
        if value is not None and value not in values:
            values.append(value)
        if note:
            notes.append(f"{flag} is accepted and ignored: {note}.")
    return (values[0] if single else type(given)(values)), notes
