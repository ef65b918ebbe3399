"""Every field of every workflow is connected, and nothing that is not declared.

Nipype checks neither: an input that nobody feeds stays undefined until a node misses it, and a
misspelt ``inputnode.field`` of a sub-workflow is accepted.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
from nipype import config as nipype_config
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Workflow
from nipype.pipeline.engine.utils import merge_dict

from bids_brnn.bids import find_acquisitions
from bids_brnn.config.run_config import RunConfig
from bids_brnn.workflows import init_participant_wf
from bids_brnn.workflows.execution import execution_settings
from bids_brnn.workflows.participant import TOP, participant_name


def identity_nodes(workflow):
    for name in workflow.list_node_names():
        node = workflow.get_node(name)
        if isinstance(node.interface, IdentityInterface):
            yield name, node


def edges_of(workflow, prefix):
    """Every (full name of source field, full name of target field), sub-workflows included."""
    for source, target, data in workflow._graph.edges(data=True):
        for out, into in data["connect"]:
            out = out[0] if isinstance(out, tuple) else out
            yield f"{prefix}.{source.name}.{out}", f"{prefix}.{target.name}.{into}"
    for node in workflow._graph.nodes():
        if isinstance(node, Workflow):
            yield from edges_of(node, f"{prefix}.{node.name}")


def fields_fed(workflow):
    edges = list(edges_of(workflow, TOP))
    return {into for _, into in edges}, {out for out, _ in edges}


CASES = {
    "full": {},
    "minimal": {"level": "minimal"},
    "in the T1w image": {"output_spaces": ("T1w",)},
    "no companions": {"ignore": ("b1map", "mask", "dseg", "t1w")},
    "nlls for all": {"reference": "nlls"},
    "a sample": {"reference_voxels": "100"},
    "all steps": {"denoise": "mppca", "degibbs": True},
    "motion": {"denoise": "mppca", "motion_correction": True, "modality": "mrf"},
}


@pytest.fixture(scope="module", params=list(CASES))
def workflow(request, dataset, tmp_path_factory):
    base = tmp_path_factory.mktemp("base")
    config = RunConfig(
        bids_dir=dataset, output_dir=base / "out", work_dir=base / "w", **CASES[request.param]
    )
    found = find_acquisitions(
        dataset,
        derivatives={"fmriprep": dataset / "derivatives" / "fmriprep"},
        ignore=config.ignore,
        kinds=("qmt", "mrf") if config.modality == "auto" else (config.modality,),
    )
    assert len(found.acquisitions) == (2 if config.modality == "auto" else 1)
    return init_participant_wf(config, found.acquisitions, base_dir=base)


def test_every_declared_field_is_connected(workflow):
    fed, read = fields_fed(workflow)
    for name, node in identity_nodes(workflow):
        full = f"{TOP}.{name}"
        for field in node.interface._fields:
            is_set = bool(getattr(node.inputs, field) or None)
            assert f"{full}.{field}" in fed or is_set, f"{full}.{field} is never set"
            assert f"{full}.{field}" in read, f"{full}.{field} is never used"


def test_nothing_undeclared_is_connected(workflow):
    fed, read = fields_fed(workflow)
    declared = {
        f"{TOP}.{name}.{field}"
        for name in workflow.list_node_names()
        for node in [workflow.get_node(name)]
        for field in (*node.inputs.copyable_trait_names(), *node.outputs.copyable_trait_names())
    }
    assert fed | read <= declared


def test_every_mandatory_input_is_set_or_fed(workflow):
    fed, _ = fields_fed(workflow)
    for name in workflow.list_node_names():
        node = workflow.get_node(name)
        for field in node.inputs.traits(mandatory=True):
            value = getattr(node.inputs, field)
            is_set = not (type(value).__name__ == "_Undefined" or value == [])
            assert is_set or f"{TOP}.{name}.{field}" in fed, f"{name}.{field} has no value"


def test_names_hold_no_path_and_stay_short(workflow):
    for name in workflow.list_node_names():
        assert all(len(part) < 100 and part.isidentifier() for part in name.split("."))


def test_each_participant_has_its_own_branch_and_crash_folder(make_config, acquisitions, tmp_path):
    config = make_config()
    workflow = init_participant_wf(
        config,
        list(acquisitions.values()),
        base_dir=tmp_path / "base",
        crash_dirs={"01": tmp_path / "crash"},
    )
    branch = workflow.get_node(participant_name("01"))
    for node in branch._get_all_nodes():
        execution = node.config["execution"]
        assert execution["crashdump_dir"] == str(tmp_path / "crash")
        assert execution["hash_method"] == "content"
        assert execution["crashfile_format"] == "txt"


def test_the_scheduler_goes_by_the_settings_of_the_run(make_config, acquisitions, tmp_path):
    """Nipype takes those of the outermost workflow, which are its own defaults unless told."""
    config = make_config(stop_on_first_crash=True)
    workflow = init_participant_wf(config, list(acquisitions.values()), base_dir=tmp_path)
    scheduled = merge_dict(deepcopy(nipype_config._sections), workflow.config)["execution"]
    settings = execution_settings(stop_on_first_crash=True)["execution"]
    assert settings["stop_on_first_crash"]
    assert {name: scheduled[name] for name in settings} == settings


def test_a_batch_system_is_asked_seldom_and_its_disk_may_be_slow(
    make_config, acquisitions, tmp_path
):
    """Network disks hide a new file for up to 60 s, and Nipype waits 5 for results."""
    file = tmp_path / "plugin.yml"
    for name, seconds in (("SGE", 2.0), ("MultiProc", 0.1)):
        file.write_text(f"plugin: {name}\n")
        config = make_config(use_plugin=file)
        workflow = init_participant_wf(config, list(acquisitions.values()), base_dir=tmp_path)
        execution = workflow.config["execution"]
        assert execution["poll_sleep_duration"] == seconds
        if name == "SGE":
            assert execution["job_finished_timeout"] > 60


def test_threads_and_devices_reach_the_scheduler(make_config, acquisitions, tmp_path):
    config = make_config(nprocs=4, omp_nthreads=3, device="cpu")
    workflow = init_participant_wf(config, list(acquisitions.values()), base_dir=tmp_path)
    estimates = [
        workflow.get_node(name)
        for name in workflow.list_node_names()
        if name.endswith(".estimate")
    ]
    assert len(estimates) == 2
    for node in estimates:
        assert node.n_procs == 3
        assert node.inputs.num_threads == 3
        assert not node.is_gpu_node()


def test_building_twice_gives_the_same_hashes(make_config, acquisitions, tmp_path):
    hashes = []
    for _ in range(2):
        workflow = init_participant_wf(
            make_config(), list(acquisitions.values()), base_dir=tmp_path / "base"
        )
        node = next(
            workflow.get_node(name)
            for name in workflow.list_node_names()
            if name.endswith("acq_mrf_MRF_wf.estimation_dict_wf.estimate")
        )
        hashes.append(node.inputs.get_hashval(hash_method="content")[1])
    assert hashes[0] == hashes[1]


def test_standard_deviations_of_denoised_data_use_the_level_before(
    make_config, acquisitions, tmp_path
):
    """Its own residual would make them too small; a level in the sidecar needs no help."""

    def level_is_used(**changes):
        config = make_config(denoise=changes.pop("denoise", "mppca"))
        series = replace(acquisitions["mrf"], **changes)
        workflow = init_participant_wf(config, [series], base_dir=tmp_path / "base")
        fed, _ = fields_fed(workflow)
        return any(name.endswith("estimate.noise_std") for name in fed)

    assert level_is_used()
    assert not level_is_used(denoise="none")
    metadata = {**acquisitions["mrf"].metadata, "NoiseStandardDeviation": 2.0}
    assert not level_is_used(metadata=metadata)
