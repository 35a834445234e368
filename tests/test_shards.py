"""Sampling in shards: the same bytes for any number of workers, one killed or all interrupted."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from cosim.cli import run
from golden.errors import UserError
from golden.evaluation import shards, worker_pool
from golden.evaluation.shards import FloatSource, IntegerSource, draw, ranges
from golden.evaluation.worker_pool import pool
from golden.network.checkpoint import load_checkpoint, save_checkpoint
from tests.small_network import STEPS, small_artifact, small_checkpoint

IMAGES, SIZE, SEED = range(3, 14), 2, 7


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    small = small_checkpoint()
    save_checkpoint(folder / "net", small.config, small.scheduler, small.unet.state_dict())
    sha256 = load_checkpoint(folder / "net").sha256
    small_artifact().replace(checkpoint_sha256=sha256).save(folder / "net.safetensors")
    return folder


@pytest.fixture(scope="module")
def sources(files):
    return {
        "float": FloatSource(files / "net", "ddim", STEPS),
        "integer": IntegerSource(files / "net.safetensors"),
    }


@pytest.fixture(scope="module")
def alone(sources):
    return {kind: draw(source, SEED, IMAGES, size=SIZE) for kind, source in sources.items()}


@pytest.fixture(scope="module", params=[2, 3], ids=lambda n: f"{n} workers")
def workers(request):
    with pool(request.param) as opened:
        yield opened


def same(a, b):
    assert a.x0.dtype == b.x0.dtype
    return np.array_equal(a.x0, b.x0) and np.array_equal(a.images, b.images)


@pytest.mark.parametrize(
    ("images", "size", "expected"),
    [
        (range(0, 4), 2, [range(0, 2), range(2, 4)]),
        (range(5, 8), 2, [range(5, 7), range(7, 8)]),
        (range(0, 1), 64, [range(0, 1)]),
    ],
)
def test_ranges(images, size, expected):
    assert ranges(images, size) == expected


def test_ranges_refuse():
    for images in (range(0), range(0, 4, 2), range(-1, 3), range(3, 0, -1)):
        with pytest.raises(ValueError, match="images must be a rising range"):
            ranges(images)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        ranges(range(3), 0)


def test_images_are_those_of_the_network(alone):
    assert alone["integer"].x0.dtype == np.int16
    assert alone["float"].x0.dtype == np.float32
    assert len(alone["integer"].images) == len(IMAGES)
    part = shards.IntegerNetwork(small_artifact()).images(SEED, range(6, 9))
    assert np.array_equal(alone["integer"].images[3:6], part)


def test_threads_and_order_change_nothing(sources, alone, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(shards, "ranges", lambda images, size: ranges(images, size)[::-1])
    torch.set_num_threads(2)
    try:
        for kind, source in sources.items():
            assert same(draw(source, SEED, IMAGES, size=SIZE), alone[kind])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["float", "integer"])
def test_workers_change_nothing(workers, sources, alone, kind):
    seen = []
    drawn = draw(
        sources[kind],
        SEED,
        IMAGES,
        size=SIZE,
        using=workers,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert same(drawn, alone[kind])
    assert len(seen) == 6
    assert seen[-1] == (11, 11)
    assert seen == sorted(seen)


def test_running_cluster_and_killed_worker(sources, alone):
    """Through the address of a cluster; one of its two processes is killed after one shard."""
    killed: list[int] = []

    def kill(done, total):
        if not killed and done < total:
            pid = next(iter(opened.client.run(os.getpid).values()))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    with pool(2) as opened:
        address = opened.client.scheduler.address
        drawn = draw(sources["integer"], SEED, IMAGES, size=1, scheduler=address, progress=kill)
        assert killed
        assert killed[0] not in opened.client.run(os.getpid).values()
    assert same(drawn, alone["integer"])


def test_errors_of_workers_are_those_of_this_process(workers, sources, files):
    wrong = replace(sources["integer"], sha256="cd" * 32)
    missing = IntegerSource(files / "none.safetensors")
    for source, text in ((wrong, r"not cdcdcdcdcdcd\.\.\. as asked"), (missing, "cannot be read")):
        for using in (None, workers):
            with pytest.raises(UserError, match=text):
                draw(source, SEED, IMAGES, size=SIZE, using=using)


def test_refusals(monkeypatch):
    monkeypatch.setattr(worker_pool, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UserError, match="workers = 0 is not allowed"), pool(0):
        pass
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        refused = pytest.raises(UserError, match=f"scheduler {address}: cannot be reached")
        with refused, pool(scheduler=address):
            pass


def test_devices_of_workers(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert worker_pool.worker_count("cuda", None) == 3
    assert worker_pool.worker_count("cuda", 2) == 2
    assert worker_pool.worker_count("cuda:1", None) == 1
    assert shards.useful(65, "cuda", None) == 2
    with pytest.raises(UserError, match="workers = 4 is not allowed; CUDA devices to use: 3"):
        worker_pool.worker_count("cuda", 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert worker_pool._environment(2) == {"CUDA_VISIBLE_DEVICES": "2"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-ab")
    assert worker_pool._environment(1) == {"CUDA_VISIBLE_DEVICES": "GPU-ab"}


def test_one_process_loads_no_dask(files):
    code = (
        "import sys; from pathlib import Path; from golden.evaluation.shards import *; "
        f"draw(IntegerSource(Path({str(files / 'net.safetensors')!r})), 0, range(2)); "
        "sys.exit('dask' in sys.modules or 'distributed' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def sample_arguments(files, out, *more):
    network = ["--checkpoint", str(files / "net"), "--artifact", str(files / "net.safetensors")]
    return ["sample", *network, "--steps", str(STEPS), "--device", "cpu", "--out", str(out), *more]


def test_command(files, tmp_path, capsys):
    pictures = []
    for workers in ("1", "2"):
        out = tmp_path / f"{workers}.png"
        assert run(sample_arguments(files, out, "--samples", "70", "--workers", workers)) == 0
        pictures.append(out.read_bytes())
    assert pictures[0] == pictures[1]
    assert capsys.readouterr().err == ""


def test_command_refuses(files, tmp_path, capsys):
    for more, text in (
        (["--workers", "0"], "workers = 0 is not allowed; allowed: an integer in 1..1024"),
        (["--workers", "2", "--scheduler", "tcp://x:1"], "workers and scheduler: give one"),
    ):
        assert run(sample_arguments(files, tmp_path / "x.png", *more)) == 2
        assert text in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs process groups as Linux has them")
def test_interrupt_ends_all_processes(files, tmp_path):
    """SIGINT to the whole group, as a terminal sends it, while both workers draw."""
    arguments = sample_arguments(files, tmp_path / "x.png", "--samples", "60000", "--workers", "2")
    # a shell starts background jobs with the interrupt ignored, and children inherit that
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "if __name__ == '__main__':\n"
        "    from cosim.cli import main\n"
        "    main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            children = psutil.Process(process.pid).children(recursive=True)
            if sum(child.cpu_times().user > 4 for child in children) >= 2:
                break
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        _, shown = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130
    assert shown.strip() == "stepscale: interrupted"
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert not (tmp_path / "x.png").exists()
