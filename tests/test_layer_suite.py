"""Suites ``layers`` and ``nightly``: every output of every conv and every code, once a step."""

import os
import shutil
import signal

import numpy as np
import pytest

from cosim import layer_suite
from cosim.bench import emit_verilog
from cosim.jobs import only_cases, run_jobs
from cosim.layer_suite import layer_tasks, whole_layer_case
from cosim.network_cases import network_parameters
from cosim.suites import layer_jobs
from golden.calibration.topology import LayerSpec
from golden.errors import UserError
from golden.evaluation.worker_pool import pool
from golden.network.checkpoint import load_checkpoint, save_checkpoint
from tests.small_network import GROUPS, STEPS, small_artifact, small_checkpoint

SIZE = 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers")
    small = small_checkpoint()
    save_checkpoint(folder / "net", small.config, small.scheduler, small.unet.state_dict())
    sha256 = load_checkpoint(folder / "net").sha256
    small_artifact().replace(checkpoint_sha256=sha256).save(folder / "net.safetensors")
    return {"artifact": folder / "net.safetensors", "checkpoint": folder / "net"}


@pytest.fixture(scope="module")
def rtl(tmp_path_factory):
    parameters = network_parameters(small_artifact(), SIZE, SIZE)
    return emit_verilog("datapath", parameters, tmp_path_factory.mktemp("datapath") / "rtl")


def tasks(files, rtl, every_step=False, seed=3):
    return layer_tasks(
        every_step=every_step, rows=SIZE, cols=SIZE, seed=seed, rtl=rtl, words=["--seed", "3"],
        **files,
    )  # fmt: skip


def case_of(task):
    artifact, _ = layer_suite._network(task.artifact, task.checkpoint)
    steps = tuple(step for span in task.spans for step in span)
    captures = layer_suite._captures(task.artifact, task.checkpoint, task.seed, steps)
    spans = [[captures[step][task.layer] for step in span] for span in task.spans]
    parameters = network_parameters(artifact, SIZE, SIZE)
    return spans, whole_layer_case(task.name, spans, parameters, artifact, stalls_index=0, seed=1)


def places(case, stream):
    found = case.places.get(stream, {})
    return list(zip(*(found[key].tolist() for key in sorted(found)), strict=True)) if found else []


def test_every_output_and_every_code_once(files, rtl):
    made = small_artifact()
    seen = []
    for task in tasks(files, rtl):
        spans, case = case_of(task)
        seen.append(task.layer)
        spec: LayerSpec = made.layers[task.layer]
        for span in spans:
            layer = span[0]
            pixels = layer.output.shape[1] * layer.output.shape[2]
            firsts = range(0, layer.output.shape[0], SIZE)
            wanted = {(first, p, layer.step) for first in firsts for p in range(pixels)}
            got = [place for place in places(case, "o_conv") if place[2] == layer.step]
            assert len(got) == len(wanted)
            assert set(got) == wanted
            starts = np.cumsum([0, *spec.segments])
            channels = [
                first
                for start, count in zip(starts, spec.segments, strict=False)
                for first in range(start, start + count, SIZE)
            ]
            stream = "o_activation" if "silu" in layer.kind or layer.kind == "region" else "o_edge"
            size = layer.source.shape[1] * layer.source.shape[2]
            wanted = {(first, p, layer.step) for first in channels for p in range(size)}
            got = [place for place in places(case, stream) if place[2] == layer.step]
            if layer.kind == "int8_attention":
                assert not got
            else:
                assert len(got) == len(wanted)
                assert set(got) == wanted
        assert len(case.places["o_conv"]["step"]) == case.trace.outputs["o_conv"].transfers
    assert seen == list(made.layers)


def test_tasks_take_a_step_of_every_group_or_all_steps(files, rtl):
    made = small_artifact()
    daily, nightly = tasks(files, rtl), tasks(files, rtl, every_step=True)
    for task in daily:
        assert [made.group(step) for (step,) in task.spans] == list(range(GROUPS))
    for layer in made.layers:
        spans = [task.spans[0] for task in nightly if task.layer == layer]
        assert [step for span in spans for step in span] == list(range(STEPS))
        assert all(len({made.group(step) for step in span}) == 1 for span in spans)
    assert len({task.name for task in nightly}) == len(nightly)


@pytest.mark.cosim
def test_both_suites_are_green(files, rtl):
    layers = {"conv_in", "down_blocks.1.attentions.0.to_q", "up_blocks.1.resnets.0.conv1"}
    for every_step in (False, True):
        chosen = [task for task in tasks(files, rtl, every_step) if task.layer in layers]
        results = run_jobs(chosen, waves=False, level=3)
        assert all(result.passed for result in results)
        groups = {group for result in results for case in result.cases for group in case.groups}
        assert groups == set(range(GROUPS))


@pytest.mark.cosim
def test_mismatch_says_where_in_the_network(files, rtl, tmp_path):
    broken = tmp_path / "rtl"
    shutil.copytree(rtl, broken)
    path = broken / "requantizer_lane.v"
    text = path.read_text()
    assert text.count("bias_6, 1'b1}") == 1
    path.write_text(text.replace("bias_6, 1'b1}", "bias_6, 1'b0}"))  # floor in place of half up
    [task] = [t for t in tasks(files, broken) if t.layer == "down_blocks.1.resnets.0.conv1"]
    result = task.run(waves=False, level=3)
    found = result.first_mismatch()
    assert found is not None
    words = str(found[1])
    for word in ("stream o_", "lane ", "pixel ", "step ", "first channel ", f"layer {task.layer}"):
        assert word in words


@pytest.mark.cosim
def test_killed_worker_loses_nothing_and_counts_nothing_twice(files, rtl):
    chosen = tasks(files, rtl)[:8]
    alone = run_jobs(chosen, waves=False, level=3)
    killed: list[int] = []

    def kill(what, done, total):
        if not killed and 0 < done < total:
            pid = next(iter(using.client.run(os.getpid).values()))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    with pool(2) as using:
        spread = run_jobs(chosen, waves=False, level=3, using=using, progress=kill)
        assert killed
        assert killed[0] not in using.client.run(os.getpid).values()
    assert [result.cases for result in spread] == [result.cases for result in alone]


def test_artifact_of_another_network_is_refused(files, rtl):
    with pytest.raises(UserError, match="artifact was made from another checkpoint"):
        layer_tasks(
            every_step=False, rows=SIZE, cols=SIZE, seed=1, rtl=rtl, words=[],
            artifact=files["artifact"], checkpoint=None,
        )  # fmt: skip


def test_only_what_failed(files, rtl):
    jobs = layer_jobs(
        "layers", rows=SIZE, cols=SIZE, seed=1, rtl=rtl, given_rtl=False, **files
    )  # fmt: skip
    assert [job.name for job in only_cases(jobs, {("datapath", "conv_out")})] == ["conv_out"]
    with pytest.raises(UserError, match="none of the cases that failed"):
        only_cases(jobs, {("datapath", "nothing")})
