import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from cosim.cli import run
from cosim.figures import write_ablation
from golden.errors import UserError
from golden.evaluation import ablation, drawing
from golden.evaluation.ablation import Evaluation, Settings
from golden.evaluation.fid import FeatureNetwork, Reference
from golden.evaluation.image_store import ImageStore
from golden.evaluation.report import (
    COLUMNS,
    cells,
    markdown_table,
    measures,
    page_rows,
    parse_bits,
    summary,
    write_markdown,
)
from golden.evaluation.variants import VARIANTS
from golden.evaluation.worker_pool import HERE, pool
from golden.network.checkpoint import save_checkpoint
from golden.threads import torch_threads
from tests.small_network import small_artifact, small_checkpoint

KEYS = {"eps_sqnr_db_mean", "eps_sqnr_db_min", "fid_float", "fid_int", "psnr_db", "samples",
        "seed", "extra_macs"}  # fmt: skip
REGION = next(v for v in VARIANTS if v.name == "region + groups")


def small_features() -> tuple[FeatureNetwork, Reference]:
    network = FeatureNetwork(
        lambda images: images.float().flatten(1)[:, ::16] / 255, width=4, name="toy", sha256="00"
    )
    noise = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    return network, Reference.of(noise, features="00")


def evaluation(folder=None, progress=None, using=HERE, **settings) -> Evaluation:
    values = {"samples": 5, "sqnr_images": 2, "images": 2, "batch": 2, **settings}
    measured = small_checkpoint(), small_artifact(), Settings(**values), *small_features()
    return Evaluation(*measured, folder, progress, using)


def test_a_row_has_every_column_and_the_record_every_key():
    run_of = evaluation()
    rows = [run_of.float_row(), run_of.simulated_row(REGION, 8), run_of.integer_row()]
    report = summary(run_of, rows)
    assert report.keys() >= KEYS
    assert all(report[key] is not None for key in KEYS)
    assert report["eps_sqnr_db_mean"] == rows[-1]["eps_sqnr_db_mean"]
    assert all(len(cells(row)) == len(COLUMNS) for row in rows)
    table = markdown_table(report).splitlines()
    assert [line.count("|") for line in table[2:]] == [len(COLUMNS) + 1] * 5
    assert 20 < rows[-1]["eps_sqnr_db_mean"] < 70
    assert json.loads(json.dumps(report)) == report


def test_without_features_the_distances_are_null():
    run_of = evaluation()
    run_of.features = run_of.reference = None
    report = summary(run_of, [run_of.float_row(), run_of.integer_row()])
    assert report["fid_float"] is None and report["fid_int"] is None
    assert report["psnr_db"] is not None


def test_a_finished_row_is_not_measured_again(tmp_path, monkeypatch):
    first = evaluation(tmp_path).simulated_row(REGION, 8)

    def refuse(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(ablation, "SimulatedUNet", refuse)
    assert evaluation(tmp_path).simulated_row(REGION, 8) == first
    with pytest.raises(AssertionError):
        evaluation(tmp_path, samples=4).simulated_row(REGION, 8)
    with pytest.raises(AssertionError):
        evaluation(tmp_path).simulated_row(REGION, 7)
    (tmp_path / "region___groups__8_bits.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="is not JSON"):
        evaluation(tmp_path).simulated_row(REGION, 8)


def test_shards_give_the_same_row_as_one_process(tmp_path):
    alone = evaluation(tmp_path / "one")
    expected = [alone.float_row(), alone.simulated_row(REGION, 7), alone.integer_row()]
    for shard in range(2):
        evaluation(tmp_path / "two").share([(REGION, 7)], {"integer": small_artifact()}, shard, 2)
    assert len(list((tmp_path / "two" / "parts").glob("*.npy"))) == 3 * 3
    many = evaluation(tmp_path / "two")
    assert [many.float_row(), many.simulated_row(REGION, 7), many.integer_row()] == expected
    left = [path.name for path in (tmp_path / "two" / "parts").iterdir()]
    assert len(left) == 3 and all(name.startswith("float") for name in left)


def three_rows(run_of):
    return [run_of.float_row(), run_of.simulated_row(REGION, 7), run_of.integer_row()]


def test_workers_give_the_same_rows_and_bytes_one_of_them_killed(tmp_path):
    """A worker is ended after the first image of the simulated row; its share is drawn again."""
    killed: list[int] = []

    def kill(what, share):
        if what.startswith("region + groups, 7 bits") and not killed and share < 1:
            pid = next(iter(using.client.run(os.getpid).values()))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    alone = evaluation(tmp_path / "one", batch=1)
    expected = three_rows(alone)
    with pool(2) as using:
        many = evaluation(tmp_path / "two", kill, using, batch=1)
        assert three_rows(many) == expected
        using.client.wait_for_workers(2, timeout=60)  # the new one may still be on its way
        trims = using.client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_")
        assert list(trims.values()) == [None, None]  # with it workers take twice the time
        assert killed and killed[0] not in using.client.run(os.getpid).values()
    assert np.array_equal(many._float_images(), alone._float_images())
    left = sorted(path.name for path in (tmp_path / "two" / "parts").iterdir())
    assert len(left) == 5 and all(name.endswith(".npy") for name in left)


def test_a_worker_that_cannot_read_the_model_is_one_message(tmp_path):
    with pytest.raises(UserError, match="need --rows, a folder they share"):
        drawing._draw_part(tmp_path / "none", range(1), None)


def test_floats_are_drawn_on_one_thread_of_a_cpu(monkeypatch):
    seen: list[int] = []

    def record(*_, **__):
        seen.append(torch.get_num_threads())
        return torch.zeros(1)

    monkeypatch.setattr(drawing, "sample", record)
    with torch_threads(3):
        evaluation()._float_model().draw(range(1))
        assert torch.get_num_threads() == 3
    assert seen == [1]


def test_an_interrupted_row_goes_on_with_the_parts_it_has(tmp_path):
    store = ImageStore(tmp_path, 5, 2)
    drawn: list[range] = []

    def draw(images):
        if len(drawn) == 1 and not tmp_path.joinpath("again").exists():
            raise KeyboardInterrupt
        drawn.append(images)
        return np.arange(images.start, images.stop, dtype=np.int16)

    with pytest.raises(KeyboardInterrupt):
        store.gather("x", draw)
    tmp_path.joinpath("again").touch()
    assert store.gather("x", draw).tolist() == [0, 1, 2, 3, 4]
    assert drawn == [range(2), range(2, 4), range(4, 5)]


def test_the_page_gets_its_table_between_the_marks(tmp_path):
    run_of = evaluation()
    report = summary(run_of, [run_of.float_row(), run_of.integer_row()])
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table 8x8 -->\nold\n<!-- end -->\nb\n", encoding="utf-8")
    for _ in range(2):
        write_markdown(page, report)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("a\n<!-- table 8x8 -->\n") and text.endswith("|\n<!-- end -->\nb\n")
    assert "old" not in text and text.count("| integer |") == 1
    page.write_text("a", encoding="utf-8")
    with pytest.raises(UserError, match="has no place"):
        write_markdown(page, report)


def test_a_page_gives_its_rows_back(tmp_path):
    run_of = evaluation()
    rows = [run_of.float_row(), run_of.simulated_row(REGION, 7), run_of.integer_row()]
    page = tmp_path / "page.md"
    page.write_text("<!-- table 8x8 -->\n<!-- end -->\n", encoding="utf-8")
    write_markdown(page, summary(run_of, rows))
    back = page_rows(page, "8x8")
    assert [cells(row) for row in back] == [cells(row) for row in rows]
    assert [row["bits"] for row in back] == [None, 7, 8]
    picture = tmp_path / "bars.png"
    write_ablation(picture, back)
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="no row with bits"):
        write_ablation(picture, back[:1])
    page.write_text("<!-- table 8x8 -->\n| a |\n|---|\n<!-- end -->\n", encoding="utf-8")
    with pytest.raises(UserError, match="has not the columns model, bits"):
        page_rows(page, "8x8")


def page_of(folder, size):
    page = folder / "page.md"
    page.write_text(
        f"<!-- table {size} -->\nx, 10000 images of seed 1\n<!-- end -->\n", encoding="utf-8"
    )
    return page, page.read_text(encoding="utf-8")


def test_a_table_of_more_images_stays_unless_told(tmp_path):
    run_of = evaluation()
    report = summary(run_of, [run_of.float_row(), run_of.integer_row()])
    page, before = page_of(tmp_path, "8x8")
    with pytest.raises(UserError, match=r"of 10000 images, this one would be of 5; .* --replace"):
        write_markdown(page, report)
    assert page.read_text(encoding="utf-8") == before
    write_markdown(page, report, replace=True)
    assert "5 images of seed 1" in page.read_text(encoding="utf-8")
    for more in (5, 10000):
        write_markdown(page, {**report, "samples": more})
    assert "10000 images of seed 1" in page.read_text(encoding="utf-8")


def test_a_table_of_more_images_is_refused_before_anything_is_measured(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(ablation.Evaluation, "float_row", None)
    page, before = page_of(tmp_path, "16x16")
    assert run(["evaluate", "--markdown", str(page)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "of 10000 images, this one would be of 64" in lines[0]
    assert page.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--bits", "9"], "allowed: 8, 7, 6"),
        (["--variants", "nonsense"], "none has such a name"),
        (["--samples", "0"], "samples: 0; allowed: 1 or more"),
        (["--seed", "0"], "take another for the report"),
        (["--checkpoint", "nowhere"], "needs its --artifact"),
        (["--artifact", "nowhere"], "nowhere: cannot be read"),
        (["--features", "nowhere"], "needs --reference"),
        (["--reference", "nowhere"], "nowhere"),
        (["--device", "abacus"], "abacus"),
        (["--workers", "0"], "workers = 0 is not allowed"),
        (["--workers", "2", "--scheduler", "tcp://x:1"], "workers and scheduler: give one"),
        (["--scheduler", "nonsense"], "scheduler nonsense: cannot be reached"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, text, capsys):
    assert run(["evaluate", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and text in lines[0]


def test_bits_are_read_once_each():
    assert parse_bits("6, 8,6") == (6, 8)


def test_images_that_no_feature_network_takes():
    config = small_checkpoint().config
    assert measures(config, None, None, "cpu") == (None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("network")
    loaded = small_checkpoint()
    save_checkpoint(where, loaded.config, loaded.scheduler, loaded.unet.state_dict())
    from golden.network.checkpoint import load_checkpoint

    sha256 = load_checkpoint(where).sha256
    small_artifact().replace(checkpoint_sha256=sha256).save(where / "artifact.safetensors")
    return where


def small_arguments(folder) -> list[str]:
    files = ["--checkpoint", str(folder), "--artifact", str(folder / "artifact.safetensors")]
    return [*files, "--samples", "3", "--sqnr-images", "2", "--images", "2"]


def test_the_command_writes_record_and_pictures(folder, tmp_path, capsys):
    record = tmp_path / "record.json"
    arguments = ["evaluate", *small_arguments(folder), "--device", "cpu", "--json", str(record)]
    more = ["--ablation", "--bits", "8", "--variants", "static", "--rows", str(tmp_path / "rows")]
    pictures = tmp_path / "pictures"
    assert run([*arguments, *more, "--figures", str(pictures)]) == 0
    report = json.loads(record.read_text(encoding="utf-8"))
    assert report.keys() >= KEYS and report["fid_int"] is None and report["samples"] == 3
    assert len(report["rows"]) == 2 + sum("static" in v.name for v in VARIANTS)
    names = {path.name for path in pictures.iterdir()}
    assert names == {"ranges.png", "codes.png", "errors.png", "ablation.png", "samples.png"}
    assert "integer" in capsys.readouterr().out


@pytest.mark.long
def test_the_driver_of_many_processes(folder, tmp_path):
    command = [sys.executable, "-m", "golden.evaluation.sharded", *small_arguments(folder)]
    options = ["--batch", "1", "--variants", "static affine", "--bits", "8"]
    for devices, out in (("cpu", "one"), ("cpu,cpu", "two")):
        done = subprocess.run(
            [*command, *options, "--devices", devices, "--out", str(tmp_path / out)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    one, two = (
        json.loads((tmp_path / name / "report.json").read_text(encoding="utf-8"))
        for name in ("one", "two")
    )
    assert one == two
