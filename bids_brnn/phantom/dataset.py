"""A BIDS data set whose truth is known: for the demo, tests and documentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from bids_brnn.bids.grammar import ignored_names
from bids_brnn.bids.tables import write_table
from bids_brnn.errors import DataError, OutputError
from bids_brnn.files import write_text
from bids_brnn.parameters import QMT, RELAXATION, ParameterSet
from bids_brnn.phantom import anatomy
from bids_brnn.phantom.anatomy import Array, Head
from bids_brnn.phantom.fields import NOISE, RELAXOMETRY, write_fields
from bids_brnn.phantom.files import write_description, write_image, write_json
from bids_brnn.phantom.ideal import write_truth
from bids_brnn.phantom.series import (
    SCALE,
    Scan,
    Series,
    mrf_series,
    qmt_series,
    write_protocol,
    write_series,
)
from bids_brnn.phantom.spgr import spgr_series
from bids_brnn.priors import TISSUES
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.sequences.z_spectrum import ZSpectrum

Kind = Literal["qmt", "mrf", "spgr"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Series that there are: our own qMT trains, MR fingerprinting, conventional qMT."""

QMT_RANK = 15
SLICE = 5.0  # mm
_TR, _TE = 0.6, 0.003  # s, of the T1-weighted image

_CONVENTIONAL = """
- `derivatives/relaxometry`: R1 map and its standard deviation, as if another program wrote them.

`acq-{acquisition}` is simulated with what conventional qMT assumes, R1s = 1/s. The R1 map is that
of the tissue with the R1s it has{other}; R1f of `acq-{acquisition}` follows from both and differs.
Images are magnitudes; their noise has a standard deviation of {sigma:g} before that.
"""
_BOTH = ParameterSet((*QMT.select("estimated"), *RELAXATION.select("estimated")))
_README = """# Phantom with known truth

Made by formula with bids_brnn: nobody was scanned. Each participant is a head of ellipsoids with
white matter, grey matter and cerebrospinal fluid; tissue parameters vary smoothly and between
participants. {what}

- `derivatives/fmriprep`: T1w image, brain mask, labels and tissue probabilities as fMRIPrep names
  them (fMRIPrep was not run).
- `derivatives/truth`: the maps that an ideal estimator would find (`desc-truth`) and the smallest
  standard deviation any unbiased one can reach (`desc-truthStd`, Cramer-Rao bound).

|M0| of water is {scale:g}; the noise has a standard deviation of {sigma:g} per channel.
"""


def make_dataset(
    path: Path,
    *,
    n_participants: int = 2,
    sessions: Sequence[str] = (),
    kinds: Sequence[Kind] = ("qmt", "mrf"),
    shape: tuple[int, int, int] = (24, 30, 2),
    snr: float = 60.0,
    seed: int = 2024,
    qmt_train: PulseSequence | None = None,
    mrf_train: PulseSequence | None = None,
    qmt_rank: int = QMT_RANK,
    spgr_protocol: ZSpectrum | None = None,
    series: Sequence[Series] = (),
) -> Path:
    """Write the data set; equal arguments give equal files, byte for byte.

    Parameters
    ----------
    path
        Folder to make; must be empty or absent.
    n_participants, sessions, kinds
        ``sub-01`` and so on; session labels without ``ses-``, none for no session level; which
        series each of them has.
    shape
        Voxels of the series; the T1-weighted image has twice as many in each direction.
    snr
        ``|M0| / sigma`` per channel, with M0 of water; tissue has about 0.8 of it. Images of
        conventional qMT have 5/3 of it.
    seed
        Of anatomy, fields and noise.
    qmt_train, mrf_train
        Pulse trains; ours by default, those that the shipped networks were trained for.
    qmt_rank
        Coefficients of the qMT series.
    spgr_protocol
        Of conventional qMT: angles, offsets and timing of the MT pulses.
    series
        In place of all these: series of protocols of one's own (:mod:`bids_brnn.phantom.own`).

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OutputError
        If the folder is not empty or cannot be written.
    DataError
        If an argument is impossible.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} exists and is not an empty folder; choose another one")
    if n_participants < 1 or not kinds or set(kinds) - set(KINDS) or not snr > 0:
        raise DataError(
            "a phantom needs participants, an SNR above 0 and kinds out of "
            f"{', '.join(KINDS[:-1])} and {KINDS[-1]}, not {n_participants}, {snr:g} and "
            f"{', '.join(kinds)}"
        )
    made: Mapping[Kind, Callable[[], Series]] = {
        "qmt": lambda: qmt_series(qmt_train or hybrid_state_train(), qmt_rank),
        "mrf": lambda: mrf_series(mrf_train or jiang_like_train()),
        "spgr": lambda: spgr_series(spgr_protocol or demo_protocol()),
    }
    series = list(series) or [make() for kind, make in made.items() if kind in kinds]
    names = [f"sub-{number + 1:02d}" for number in range(n_participants)]
    _write_root(path, series, names, snr)
    affine = anatomy.affine_of(shape, SLICE)
    for number, name in enumerate(names):
        head = anatomy.draw_head(_BOTH, np.random.default_rng([seed, number]))
        for visit, session in enumerate(sessions or ("",)):
            key = (seed, number, visit)
            rng = np.random.default_rng(key)
            fresh = anatomy.draw_head(_BOTH, rng)
            here = dataclasses.replace(head, b1=fresh.b1, w0=fresh.w0, phase=fresh.phase)
            labels = anatomy.label_map(here, anatomy.points_of(shape, affine))
            _write_visit(path, name, session, series, Scan(here, labels, affine, snr), key, rng)
    return path


def _write_root(root: Path, series: Sequence[Series], names: Sequence[str], snr: float) -> None:
    words = [
        f"`acq-{one.acquisition}_{one.suffix}` ({one.metadata['PulseSequenceType']}, {one.extent})"
        for one in series
    ]
    what = "Series: " + " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
    write_description(root, "bids_brnn phantom with known truth")
    text = _README.format(what=what + ".", scale=SCALE, sigma=SCALE / snr)
    text += "".join(_conventional_words(one, series, snr) for one in series if "R1" in one.fields)
    write_text(root / "README.md", text)
    write_text(root / ".bidsignore", ignored_names("input_bidsignore"))
    ages = [24 + 7 * number % 45 for number in range(len(names))]
    people = {"participant_id": names, "age": ages}
    write_table(root / "participants.tsv", pd.DataFrame(people))
    write_json(
        root / "participants.json",
        {"age": {"Description": "Invented age of the participant", "Units": "year"}},
    )
    for one in series:
        write_protocol(root, one, snr)
    names_of_labels = [name for name, _ in anatomy.LABELS.values()]
    labels = pd.DataFrame({"index": list(anatomy.LABELS), "name": names_of_labels})
    fmriprep, truth = root / "derivatives" / "fmriprep", root / "derivatives" / "truth"
    write_description(
        fmriprep, "Anatomy of the phantom, named as by fMRIPrep", derivative="fmriprep"
    )
    write_table(fmriprep / "desc-aseg_dseg.tsv", labels)
    write_description(truth, "Truth of the phantom", derivative="truth")
    write_table(truth / "desc-truth_dseg.tsv", labels)
    write_text(truth / ".bidsignore", "*_QMTmap.*\n")
    if any("R1" in one.fields for one in series):
        folder = root / "derivatives" / RELAXOMETRY
        write_description(folder, "R1 maps of the phantom", derivative=RELAXOMETRY)


def _conventional_words(one: Series, series: Sequence[Series], snr: float) -> str:
    pools = [each for each in series if "R1s" in each.model.parameters.names and each is not one]
    return _CONVENTIONAL.format(
        sigma=one.scale / snr / one.quality,
        acquisition=one.acquisition,
        other=f" (that of `acq-{pools[0].acquisition}`)" if pools else "",
    )


def _write_visit(
    root: Path,
    name: str,
    session: str,
    series: Sequence[Series],
    scan: Scan,
    key: Sequence[int],
    rng: np.random.Generator,
) -> None:
    inner = Path(name, f"ses-{session}") if session else Path(name)
    stem = "_".join(inner.parts)
    for one in series:
        noise = np.random.default_rng([*key, *one.stream]) if one.stream else rng
        spread = {name: share for name, share in NOISE.items() if name in one.fields}
        found = write_series(root / inner / "anat", stem, one, scan, noise, spread)
        write_truth(root / "derivatives" / "truth" / inner, stem, one, scan, found)
        write_fields(root, inner, stem, one, scan, found, noise)
    _write_anatomy(root, inner, stem, scan, rng)


def _write_anatomy(
    root: Path, inner: Path, stem: str, scan: Scan, rng: np.random.Generator
) -> None:
    """T1-weighted image in the raw data set; what fMRIPrep would make of it beside it."""
    x, y, z = scan.labels.shape
    fine = (2 * x, 2 * y, 2 * z)
    affine = anatomy.affine_of(fine, SLICE / 2)
    labels = anatomy.label_map(scan.head, anatomy.points_of(fine, affine))
    tissue = anatomy.tissue_map(labels)
    image = 4 * rng.standard_normal(fine) ** 2  # noise of a magnitude image
    for kind, weight in t1_weights().items():
        image[tissue == kind] = weight + 8 * rng.standard_normal(int((tissue == kind).sum()))
    sidecar: dict[str, object] = {
        "MagneticFieldStrength": 3,
        "RepetitionTime": _TR,
        "EchoTime": _TE,
        "FlipAngle": 90,
    }
    write_image(root / inner / "anat" / f"{stem}_T1w.nii.gz", image, affine, sidecar)
    out = root / "derivatives" / "fmriprep" / inner / "anat"
    stripped = {"SkullStripped": False}
    write_image(out / f"{stem}_desc-preproc_T1w.nii.gz", image, affine, stripped)
    source = f"bids:raw:{(inner / 'anat' / stem).as_posix()}_T1w.nii.gz"
    mask = {"SkullStripped": False, "Type": "Brain", "RawSources": [source]}
    inside = (labels > 0).astype(np.uint8)
    write_image(out / f"{stem}_desc-brain_mask.nii.gz", inside, affine, mask)
    write_image(out / f"{stem}_desc-aseg_dseg.nii.gz", labels, affine, stripped)
    for kind in TISSUES:
        probability = tissue_fraction(scan.head, fine, affine, kind)
        path = out / f"{stem}_label-{kind}_probseg.nii.gz"
        write_image(path, probability, affine, stripped)


def t1_weights() -> dict[str, float]:
    """Brightness by tissue of a spin-echo image with TR 0.6 s and TE 3 ms, water being 1000."""
    weights = {}
    for name, values in TISSUES.items():
        relaxed = (1 - np.exp(-_TR * values["R1"])) * np.exp(-_TE * values["R2"])
        weights[name] = float(1000 * relaxed)
    return weights


def tissue_fraction(head: Head, shape: tuple[int, int, int], affine: Array, tissue: str) -> Array:
    """Fraction of each voxel ``(X, Y, Z)`` that ``tissue`` fills, by sampling it 2 x 2 x 2."""
    points = anatomy.points_of(shape, affine)
    quarter = np.diag(affine)[:3] / 4 / anatomy.HALF_FOV
    total = np.zeros(shape)
    for corner in np.ndindex(2, 2, 2):
        moved = points + (2 * np.array(corner) - 1) * quarter
        total += anatomy.tissue_map(anatomy.label_map(head, moved)) == tissue
    return total / 8
