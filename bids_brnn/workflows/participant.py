"""The whole workflow: one branch per series, no other logic."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Workflow

from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.bids.input.declared import number
from bids_brnn.bids.input.inheritance import metadata_of
from bids_brnn.bids.input.spaces import find_spaces
from bids_brnn.config.choices import ALL, AUTO
from bids_brnn.config.run_config import RunConfig
from bids_brnn.estimators.registry import NETWORK
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.parameters import FIELD_MAPS
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.registry import model_entry
from bids_brnn.workflows.anatomy import find_anatomy
from bids_brnn.workflows.choice import Plan, plan_estimation, without_fluid
from bids_brnn.workflows.estimation import init_estimation_wf
from bids_brnn.workflows.execution import execution_settings, gpu_visible
from bids_brnn.workflows.fields import (
    ANATOMY,
    ESTIMATED,
    HISTORY,
    LEVEL,
    MOTION,
    PREPARED,
    SPREAD,
    STRATA,
    SUPPLIED,
)
from bids_brnn.workflows.outputs import init_outputs_wf
from bids_brnn.workflows.plugins import imported_meanwhile, scheduler_settings
from bids_brnn.workflows.preparation import Spectrum, init_preparation_wf
from bids_brnn.workflows.regions import (
    Segmentation,
    find_segmentations,
    init_labels_wf,
    label_fields,
    root_of,
)
from bids_brnn.workflows.steps import step_nodes

_LOG = logging.getLogger("bids_brnn.run")
TOP = "bids_brnn"
"""Name of the workflow; its folder in the work folder."""


def participant_name(participant: str) -> str:
    """Name of the sub-workflow of a participant."""
    return f"sub_{participant}_wf"


def series_name(acquisition: Acquisition) -> str:
    """Name of the sub-workflow of a series."""
    return f"{re.sub('[^A-Za-z0-9]', '_', acquisition.name)}_wf"


def series_folder(acquisition: Acquisition, base_dir: Path) -> Path:
    """Work folder of a series."""
    return (
        base_dir
        / TOP
        / participant_name(acquisition.entities["subject"])
        / series_name(acquisition)
    )


def step_folders(workflow: Workflow, base_dir: Path) -> set[Path]:
    """Work folders of all steps of a workflow."""
    top = base_dir / workflow.name
    return {top.joinpath(*name.split(".")) for name in workflow.list_node_names()}


def init_participant_wf(
    config: RunConfig,
    acquisitions: Sequence[Acquisition],
    *,
    base_dir: Path,
    crash_dirs: Mapping[str, Path] | None = None,
) -> Workflow:
    """Workflow of a run.

    Parameters
    ----------
    config
        What was asked for.
    acquisitions
        What was found; see :func:`bids_brnn.bids.find_acquisitions`.
    base_dir
        Work folder; the descriptions of series and estimators are written into it.
    crash_dirs
        Folder for crash files by participant; ``base_dir`` by default.

    Raises
    ------
    UsageError
        If an estimator asked for does not fit a series, or a plugin asked for cannot be used.
    ReadError
        If the file of the plugin cannot be read.
    """
    settings = execution_settings(stop_on_first_crash=config.stop_on_first_crash)
    top = Workflow(name=TOP, base_dir=str(base_dir))
    top.config = scheduler_settings(config)
    for participant in dict.fromkeys(item.entities["subject"] for item in acquisitions):
        workflow = Workflow(name=participant_name(participant))
        own = [item for item in acquisitions if item.entities["subject"] == participant]
        workflow.add_nodes([init_series_wf(config, item, base_dir=base_dir) for item in own])
        top.add_nodes([workflow])
        own_settings = deepcopy(settings)
        crash_dir = (crash_dirs or {}).get(participant, base_dir)
        own_settings["execution"]["crashdump_dir"] = str(crash_dir)
        for node in workflow._get_all_nodes():
            node.config = deepcopy(own_settings)
    return top


def init_series_wf(config: RunConfig, acquisition: Acquisition, *, base_dir: Path) -> Workflow:
    """Preparation, estimation and outputs of one series, connected."""
    label = acquisition.name
    workflow = Workflow(name=series_name(acquisition))
    folder = base_dir / "inputs" / label
    supplied = supplied_fields(acquisition)
    spreads = supplied_spreads(acquisition)
    _say_nominal(acquisition, supplied)
    plan = plan_estimation(config, acquisition, tuple(supplied))
    recipes = {
        name: recipe.to_file(folder / f"{name}.json") for name, recipe in plan.recipes.items()
    }
    _say(config, acquisition, plan)
    labels = find_segmentations(config, acquisition) if config.level == "full" else {}
    is_told = any(item.is_told for item in labels.values())
    gigabytes = 8 * prod(acquisition.shape) / 1e9
    noise = number(acquisition.metadata, "NoiseStandardDeviation", label)
    is_averaged = config.denoise != "none" or config.degibbs or config.motion_correction
    estimations: dict[str, dict[str, Any]] = {
        name: {
            "recipe": recipe,
            "suffix": acquisition.rule.map_suffix,
            "supplied": list(supplied),
            "spreads": list(spreads),
            "noise_std": noise,
            # Denoising takes away what the residual would tell.
            "use_level": noise is None and config.denoise != "none",
            # So does whatever else averages the data.
            "check_noise": not is_averaged,
            "check_level": noise is None and not is_averaged and acquisition.has_complex_frames,
            **sampling_of(config, plan, name, has_labels=is_told),
            "device": config.device,
            "use_gpu": config.device != "cpu" and gpu_visible(),
            "num_threads": config.omp_nthreads,
            "batch_size": config.voxels_together,
            "cache_dir": base_dir / "dictionaries",
            "label": f"{label} {name}",
            "mem_gb": 1.5 + 3 * gigabytes,
        }
        for name, recipe in recipes.items()
    }
    preparation = init_preparation_wf(
        parts=acquisition.parts,
        masks=masks(config, acquisition),
        supplied=supplied,
        spreads=spreads,
        spectrum=spectrum_of(acquisition),
        anatomy=find_anatomy(config, acquisition, estimations),
        noise_std=noise,
        frames=acquisition.representation == "time",
        steps=step_nodes(
            denoise=config.denoise,
            degibbs=config.degibbs,
            motion_recipe=next(iter(recipes.values())) if config.motion_correction else None,
            motion_window=config.motion_window,
            label=label,
            num_threads=config.omp_nthreads,
            mem_gb=0.5 + 5 * gigabytes,
        ),
        label=label,
        modules=imported_meanwhile(config),
        num_threads=config.omp_nthreads,
        mem_gb=0.5 + 2.5 * gigabytes,
    )
    has_t1w = acquisition.t1w is not None
    outputs = init_outputs_wf(
        series=series_record(config, acquisition, labels, plan).to_file(folder / "series.json"),
        recipes=recipes,
        output_dir=config.output_dir,
        segmentations=labels,
        erode=config.erode,
        spaces=list(find_spaces(acquisition, config.output_spaces).values()),
        has_fields=bool(supplied),
        has_rate="R1" in supplied,
        has_t1w=has_t1w,
        has_motion=config.motion_correction,
        has_page=config.level == "full",
        has_spectrum=acquisition.representation == "zspectrum",
        num_threads=config.omp_nthreads,
    )
    if is_told:
        gathered = any(options.get("stratified") for options in estimations.values())
        regions = init_labels_wf(labels, erode=config.erode, gathered=gathered)
        moved = ["to_series"] if any(item.in_t1w for item in labels.values()) else []
        _link(workflow, preparation, regions, {field: field for field in ("mask", *moved)})
        _link(workflow, regions, outputs, {field: field for field in label_fields(labels)})
    for name, options in estimations.items():
        estimation = init_estimation_wf(**options, name=f"estimation_{name}_wf")
        passed = ["coefficients", "mask", "noise_level", *(["supplied"] if supplied else [])]
        passed += LEVEL if options["check_level"] else ()
        passed += SPREAD if spreads else ()
        _link(workflow, preparation, estimation, {field: field for field in passed})
        if options.get("stratified"):
            _link(workflow, regions, estimation, {field: field for field in STRATA})
        _link(workflow, estimation, outputs, {field: f"{name}_{field}" for field in ESTIMATED})
    fields = [field for field in PREPARED if field != "coefficients"] + list(HISTORY)
    fields += [*(SUPPLIED if supplied else ()), *(ANATOMY if has_t1w else ())]
    fields += MOTION if config.motion_correction else ()
    if config.level == "full" and acquisition.representation == "zspectrum":
        fields.append("coefficients")
    _link(workflow, preparation, outputs, {field: field for field in fields})
    return workflow


def sampling_of(config: RunConfig, plan: Plan, name: str, *, has_labels: bool) -> dict[str, Any]:
    """Voxels of an estimator, as options of :func:`init_estimation_wf`; empty: all.

    A network takes all; so does, unless a number is asked for, what has no network beside it.
    """
    wanted = config.reference_voxels
    if name == NETWORK or wanted == ALL or (wanted == AUTO and NETWORK not in plan.recipes):
        return {}
    return {"reference_voxels": wanted, "seed": config.random_seed, "stratified": has_labels}


def _say_nominal(acquisition: Acquisition, supplied: Collection[str]) -> None:
    """Warn of fields that no map tells and no data."""
    expected = model_entry(acquisition.model).parameters.select("supplied").names
    spectrum = acquisition.representation == "zspectrum"
    if "B1" in expected and "B1" not in supplied:
        _LOG.warning(
            "%s: there is no B1 map for it; flip angles are taken as nominal, which biases %s",
            acquisition.name,
            "m0s" if spectrum else "T2",
        )
    if spectrum and "w0" not in supplied:
        _LOG.warning(
            "%s: there is no B0 map for it; the offsets of the MT pulses are taken as nominal, "
            "which biases T2s",
            acquisition.name,
        )


def spectrum_of(acquisition: Acquisition) -> Spectrum | None:
    """Files and protocol of a Z-spectrum; None of other series."""
    if not isinstance(acquisition.sequence, ZSpectrum):
        return None
    return Spectrum(acquisition.volumes or ((acquisition.parts,),), acquisition.sequence)


def _say(config: RunConfig, acquisition: Acquisition, plan: Plan) -> None:
    """What the log has to hold of the choice of a network."""
    for note in plan.notes:
        _LOG.info("%s", note)
    if plan.warning:
        _LOG.warning("%s", plan.warning)
    alone = without_fluid(plan.recipes) if config.csf_fraction else []
    if alone and len(alone) == len(plan.recipes):
        _LOG.warning(
            "%s: --csf-fraction changes nothing here; it is for the network and for nlls of "
            "complex qMT and MRF series",
            acquisition.name,
        )
    elif alone:
        _LOG.warning(
            "%s: --csf-fraction changes nothing in the maps desc-%s, whose method knows one "
            "compartment; --reference nlls is one that fits a share of fluid",
            acquisition.name, ", desc-".join(alone),
        )  # fmt: skip
    spectrum = acquisition.representation == "zspectrum"
    if acquisition.magnitude_only and not spectrum:
        _LOG.info("%s: no network is used, they need complex data", acquisition.name)
    elif NETWORK not in plan.recipes and config.weights == "auto" and not plan.notes:
        what = "protocol" if spectrum else "pulse train"
        how = "" if config.train_missing else "; --train-missing quick trains one in minutes"
        _LOG.info("%s: no network for its %s is installed%s", acquisition.name, what, how)


def _link(workflow: Workflow, source: Workflow, target: Workflow, fields: dict[str, str]) -> None:
    pairs = [(f"outputnode.{old}", f"inputnode.{new}") for old, new in fields.items()]
    workflow.connect([(source, target, pairs)])


def masks(config: RunConfig, acquisition: Acquisition) -> dict[str, Path]:
    """The mask of the user, else the one that was found, else none."""
    if config.mask is not None:
        return {"user_mask": config.mask}
    return {} if acquisition.mask is None else {"mask": acquisition.mask}


def series_record(
    config: RunConfig, acquisition: Acquisition, labels: Mapping[str, Segmentation], plan: Plan
) -> SeriesRecord:
    """The record of a series with the companions and the network that this run uses."""
    used = {name: path for name, (path, _) in supplied_fields(acquisition).items()}
    used |= {f"{name}_std": path for name, (path, _) in supplied_spreads(acquisition).items()}
    for path in masks(config, acquisition).values():
        used["mask"] = path
    if acquisition.t1w is not None:
        used["t1w"] = acquisition.t1w
    for name, segmentation in labels.items():
        used |= segmentation.roles(name)
    return SeriesRecord.of(
        acquisition,
        used,
        network_notes=plan.notes,
        network_warning=plan.warning,
        network_marks=plan.marks,
    )


def supplied_fields(acquisition: Acquisition) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Files of the field maps by parameter, and what their sidecars say of the unit."""
    return _with_units(acquisition, acquisition.supplied)


def supplied_spreads(acquisition: Acquisition) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The same of maps of their standard deviations."""
    return _with_units(acquisition, acquisition.companions.spreads)


def _with_units(
    acquisition: Acquisition, maps: Mapping[str, Path]
) -> dict[str, tuple[Path, dict[str, Any]]]:
    found = {}
    # In the order of the model, whatever that of the data set.
    for parameter in model_entry(acquisition.model).field_maps:
        if parameter not in maps:
            continue
        path = maps[parameter]
        metadata = metadata_of(path, root_of(acquisition, path), acquisition.allowed)
        keys = FIELD_MAPS[parameter].keys
        found[parameter] = (path, {key: metadata[key] for key in keys if key in metadata})
    return found
