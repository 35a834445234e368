"""Real conv, activation and edge tiles of an integer network, as cases for ``datapath``.

The network runs one float trajectory; at chosen steps every conv's codes, constants and outputs are
captured. Golden blocks must give the network's own integers before a case is made of them.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from cosim.stimulus import Parameters
from cosim.tb_datapath import config_of
from cosim.tile_stream import TileStream
from golden.calibration.artifact import Artifact
from golden.calibration.trajectories import run_float
from golden.cycles import Case
from golden.errors import UserError
from golden.integer.capture import LayerCapture
from golden.integer.reference import ReferenceNetwork
from golden.network.checkpoint import Checkpoint
from golden.network.samplers import make_sampler

__all__ = ["Captures", "capture_steps", "chosen_layers", "crossing_case", "group_steps",
           "layer_case", "network_cases",
           "network_parameters", "require_same_network"]  # fmt: skip

PIXELS = 64  # of a conv tile in the demo
CROSSING_PIXELS = 16
CROSSING_STEPS = 4  # two on each side of a boundary

Captures = dict[int, dict[str, LayerCapture]]  # step -> layer name -> capture
Progress = Callable[[str, int, int], None]


def group_steps(artifact: Artifact) -> list[int]:
    """Return the middle step of every timestep group."""
    edges = [0, *(int(b) for b in artifact.boundaries), artifact.steps]
    return [(low + high - 1) // 2 for low, high in pairwise(edges)]


def crossing_steps(artifact: Artifact) -> list[range]:
    """Return, for each boundary, the consecutive steps round it."""
    half = CROSSING_STEPS // 2
    return [
        range(max(0, int(b) - half), min(artifact.steps, int(b) + half))
        for b in artifact.boundaries
    ]


def require_same_network(artifact: Artifact, checkpoint: Checkpoint) -> None:
    """Raise ``UserError`` unless ``artifact`` was made from ``checkpoint``."""
    if artifact.checkpoint_sha256 != checkpoint.sha256:
        raise UserError(
            "artifact was made from another checkpoint: it names "
            f"{artifact.checkpoint_sha256[:12]}, the checkpoint is {checkpoint.sha256[:12]}"
        )


def capture_steps(
    artifact: Artifact,
    checkpoint: Checkpoint,
    steps: Sequence[int],
    seed: int,
    progress: Progress | None = None,
) -> Captures:
    """Capture every conv at ``steps`` of the float trajectory that starts from ``seed``."""
    require_same_network(artifact, checkpoint)
    sampler = make_sampler(artifact.sampler, checkpoint.scheduler, artifact.steps)
    x = run_float(checkpoint.unet, sampler, seed, range(1)).x
    unet = ReferenceNetwork(artifact)
    captures: Captures = {}
    for done, step in enumerate(steps):
        captures[step] = {layer.name: layer for layer in unet.capture(step, x[step, 0])}
        if progress is not None:
            progress("capture layers", done + 1, len(steps))
    return captures


def chosen_layers(layers: Sequence[LayerCapture]) -> list[str]:
    """Return the first layer of every sort that the datapath meets, in execution order.

    A sort is the kind of edge, the kernel, the stride, upsampling, the number of concatenated
    parts, the width of the output, the size of the picture, and the role (q, k and v apart).
    """
    seen: dict[tuple[object, ...], str] = {}
    for layer in layers:
        role = layer.name.rsplit(".", 1)[-1] if ".to_" in layer.name else ""
        sort = (
            layer.kind, layer.weight.shape[2:], layer.stride, layer.upsample,
            len(layer.segments), layer.out_width, layer.output.shape[1:], role,
        )  # fmt: skip
        seen.setdefault(sort, layer.name)
    return list(seen.values())


def layer_case(
    name: str, layers: Sequence[LayerCapture], parameters: Parameters, artifact: Artifact, *,
    stalls_index: int, seed: int,
) -> Case:  # fmt: skip
    """Return one tile of a layer at each of its captured steps, streamed without a pause.

    Pixels and output channels move on from step to step, so that borders are met too.
    """
    config = config_of(parameters)
    stream = TileStream(config)
    for turn, layer in enumerate(layers):
        total = layer.output.shape[1] * layer.output.shape[2]
        count = min(PIXELS, total, config.depth)
        start = (turn * count) % total
        tiles = -(-layer.output.shape[0] // config.cols)
        stream.add_set([layer], turn % tiles)
        pixels = range(start, min(start + count, total))
        stream.add_conv(layer, pixels, turn % tiles)
        stream.add_edge(layer, turn)
    return stream.case(name, parameters, artifact, stalls_index=stalls_index, seed=seed, layer=name)


def crossing_case(
    name: str, captures: Captures, parameters: Parameters, artifact: Artifact, *, seed: int
) -> Case:
    """Return a layer at consecutive steps round every boundary, one table set for each boundary.

    The group changes between two tiles of one resident set while the stream runs.
    """
    config = config_of(parameters)
    stream = TileStream(config)
    for turn, steps in enumerate(crossing_steps(artifact)):
        layers = [captures[step][name] for step in steps]
        tiles = -(-layers[0].output.shape[0] // config.cols)
        stream.add_set(layers, turn % tiles)
        total = layers[0].output.shape[1] * layers[0].output.shape[2]
        count = min(CROSSING_PIXELS, total, config.depth)
        for place, layer in enumerate(layers):
            start = ((turn + place) * count) % total
            pixels = range(start, min(start + count, total))
            stream.add_conv(layer, pixels, turn % tiles)
            stream.add_edge(layer, turn + place)
    return stream.case(
        "group crossing", parameters, artifact, stalls_index=0, seed=seed, layer=name
    )


def network_parameters(artifact: Artifact, rows: int, cols: int) -> Parameters:
    """Return the parameters of the datapath that runs ``artifact``."""
    groups = max(artifact.groups, 1)
    return {"rows": rows, "cols": cols, "groups": groups, "resident_groups": groups}


def network_cases(
    artifact: Artifact,
    checkpoint: Checkpoint,
    rows: int,
    cols: int,
    seed: int,
    progress: Progress | None = None,
) -> list[Case]:
    """Return suite ``demo``: each sort of layer at one step of every group, and a crossing run.

    ``seed``: of the trajectory and of the stall patterns.
    """
    parameters = network_parameters(artifact, rows, cols)
    middles = group_steps(artifact)
    steps = sorted({*middles, *(step for span in crossing_steps(artifact) for step in span)})
    captures = capture_steps(artifact, checkpoint, steps, seed, progress)
    names = chosen_layers(list(captures[middles[0]].values()))
    cases = []
    for index, name in enumerate(names):
        layers = [captures[step][name] for step in middles]
        cases.append(
            layer_case(
                name, layers, parameters, artifact, stalls_index=index % 3, seed=seed + index
            )
        )
        if progress is not None:
            progress("golden model", index + 1, len(names) + 1)
    if artifact.groups > 1:
        regions = [layer for layer in captures[middles[0]].values() if layer.kind == "region"]
        smallest = min(regions, key=lambda layer: layer.weight.size * layer.output.shape[1])
        cases.append(crossing_case(smallest.name, captures, parameters, artifact, seed=seed))
    return cases
