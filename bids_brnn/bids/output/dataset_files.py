"""Files at the root of the output data set: equal from every process that writes them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_brnn.bids.grammar import grammar, ignored_names
from bids_brnn.bids.input.folders import DESCRIPTION
from bids_brnn.bids.output.derivatives import json_bytes
from bids_brnn.bids.safe import read_json
from bids_brnn.errors import BidsBrnnError
from bids_brnn.estimators.registry import NETWORK, comparison, estimators, references, variants
from bids_brnn.files import write_bytes, write_text
from bids_brnn.maps import with_spread

NAME = "bids_brnn"
_README = """# bids_brnn: quantitative maps from qMT and MR fingerprinting series

Written by bids_brnn; see `dataset_description.json` for version and sources.

- `sub-*/anat/*_QMTmap.nii.gz`: parameters of the two-pool (quantitative MT) model, one per file,
  named in `param-`; SI units, see the sidecar of each file.
- `sub-*/anat/*_{T1map,T2map,R1map,R2map,M0map}.nii.gz`: relaxometry and scale.
- `desc-` names the estimator (`descriptions.tsv`); `desc-<estimator>Std` is the
  standard deviation.
- Values outside `desc-brain_mask` are 0; NaN inside it means that there is no estimate.
- `*_scalarstats.tsv`: statistics of regions; `*_agreement.tsv`: network against reference.
- Tables at the root are those of the group (`desc-wide`: a row per visit; `*_quality.tsv`).

Names that BIDS does not know yet are listed in `.bidsignore`.
"""


def earlier_version(output_dir: Path, version: str) -> str | None:
    """A warning if ``output_dir`` holds results of another version, else None."""
    path = output_dir / DESCRIPTION
    if not path.is_file():
        return None
    try:
        generated = read_json(path).get("GeneratedBy", [{}])
        found = generated[0].get("Version") if generated else None
    except (BidsBrnnError, AttributeError, TypeError, KeyError):
        return f"{path} cannot be read; it is written anew."
    if found in (None, version):
        return None
    return f"Pre-existing outputs in {output_dir} are from {NAME} {found}, this is {version}."


def write_dataset_files(
    output_dir: Path,
    *,
    links: Mapping[str, Path],
    version: str,
    code_url: str = "",
    container: Mapping[str, str] | None = None,
) -> None:
    """Write ``dataset_description.json``, ``.bidsignore``, ``README.md``, ``descriptions.tsv``.

    Safe from many processes at once; files that are already right are not touched.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    links
        Folders of the data sets that BIDS URIs name: ``raw`` and the derivatives used.
    version, code_url, container
        For ``GeneratedBy``; ``container`` has ``Type``, ``Tag`` and ``URI``.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    write_text(output_dir / ".bidsignore", ignored_names("bidsignore"))
    write_text(output_dir / "README.md", _README)
    rows = [f"desc-{key}\t{text}" for key, text in descriptions().items()]
    write_text(output_dir / "descriptions.tsv", "\n".join(["desc_id\tdescription", *rows]) + "\n")
    # Last, as other pipelines do: where it lies, the rest lies too.
    content = dataset_description(output_dir, links, version, code_url, container)
    write_bytes(output_dir / DESCRIPTION, json_bytes(content))


def descriptions() -> dict[str, str]:
    """What each value of ``desc-`` means."""
    found: dict[str, str] = {}
    for name, entry in estimators().items():
        found |= {name: entry.words, f"{name}Std": entry.std_words}
        if entry.trained:
            words = "Root mean square error of a network that was trained without regard to bias"
            found[with_spread(name, "rmse")] = words
    for desc, (entry, model) in variants().items():
        by = f", by the model {model.called}"
        found |= {desc: f"{entry.words}{by}", f"{desc}Std": f"{entry.std_words}{by}"}
        compared = comparison(entry.name, desc)
        found[compared] = f"Agreement of the {entry.noun}{by} with that of the usual model"
        found[f"{compared}Group"] = f"{found[compared]}, of regional means over the group"
    found |= grammar()["output"]["descriptions"]
    network = estimators()[NETWORK].noun
    pairs = {comparison(name): estimators()[name].noun for name in references()}
    for desc, noun in pairs.items():
        found[desc] = f"Agreement of the {network} with the {noun}"
    for desc, noun in pairs.items():
        words = f"Agreement of regional means over the group, {network} and {noun}"
        found[f"{desc}Group"] = words
    return {**found, **grammar()["output"]["group_descriptions"]}


def dataset_description(
    output_dir: Path,
    links: Mapping[str, Path],
    version: str,
    code_url: str = "",
    container: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Content of ``dataset_description.json``; no time stamps, paths relative to the output."""
    program: dict[str, Any] = {"Name": NAME, "Version": version}
    if code_url:
        program["CodeURL"] = code_url
    if container:
        program["Container"] = dict(container)
    description: dict[str, Any] = {
        "Name": f"{NAME} - qMT and MRF maps",
        "BIDSVersion": grammar()["bids"]["version"],
        "DatasetType": "derivative",
        "GeneratedBy": [program],
    }
    sources = _source_datasets(links.get("raw"))
    if sources:
        description["SourceDatasets"] = sources
    description["DatasetLinks"] = {
        name: Path(os.path.relpath(folder, output_dir)).as_posix()
        for name, folder in sorted(links.items())
    }
    return description


def _source_datasets(raw: Path | None) -> Sequence[Mapping[str, str]]:
    """The DOI of the input, where it has one."""
    if raw is None:
        return []
    try:
        doi = read_json(raw / DESCRIPTION).get("DatasetDOI")
    except BidsBrnnError:
        return []
    return [{"DOI": doi}] if isinstance(doi, str) else []
