"""Calibration in processes of their own with one, two and three threads: the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from golden.network.checkpoint import save_checkpoint
from golden.threads import Turns, spread
from tests.small_network import small_checkpoint

SMALL = ["--steps", "4", "--groups", "2", "--images", "18", "--report-images", "2"]
SMALL += ["--device", "cpu", "--budget", "0.3"]
ROOT = Path(__file__).parent.parent


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def calibrated(arguments: list[str], out: Path, threads: int) -> bytes:
    """Bytes of ``stepscale calibrate`` in a process with so many threads for torch and numpy."""
    number = dict.fromkeys(("OMP", "MKL", "OPENBLAS"), str(threads))
    variables = {f"{name}_NUM_THREADS": value for name, value in number.items()}
    subprocess.run(
        [sys.executable, "-m", "stepscale", "calibrate", *arguments, *SMALL, "--out", str(out)],
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=120,
    )
    return out.read_bytes()


@pytest.fixture
def folder(tmp_path):
    checkpoint = small_checkpoint()
    path = tmp_path / "checkpoint"
    save_checkpoint(path, checkpoint.config, checkpoint.scheduler, checkpoint.unet.state_dict())
    return path


@pytest.mark.parametrize("network", ["embedded", "folder"])
def test_threads_change_no_byte(network, folder, tmp_path):
    arguments = [] if network == "embedded" else ["--checkpoint", str(folder)]
    one, *more = (calibrated(arguments, tmp_path / f"{n}.safetensors", n) for n in (1, 2, 3))
    assert all(other == one for other in more)


def test_pieces_come_in_order_on_one_thread_each(two_threads):
    found = list(spread(lambda piece: (piece, torch.get_num_threads()), range(20)))
    assert found == [(piece, 1) for piece in range(20)]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("count", [1, 5])
def test_a_piece_that_fails_ends_all(two_threads, count):
    def work(piece: int) -> None:
        raise ValueError(f"piece {piece}")

    with pytest.raises(ValueError, match="piece 0"):
        list(spread(work, range(count)))
    assert torch.get_num_threads() == 2


def test_turns_are_in_order_and_end_with_a_piece_that_fails(two_threads):
    turns, seen = Turns(), []

    def work(piece: int) -> None:
        with turns.piece():
            if piece == 6:
                raise ValueError("piece 6")
            with turns.turn("a", piece):
                seen.append(piece)

    with pytest.raises(ValueError, match="piece 6"):
        list(spread(work, range(9)))
    assert seen == list(range(6))
