"""The integer UNet as operations, in the order in which they are dispatched.

Walks the network as ``golden.integer.reference`` does; each conv becomes TABLE, NORM or EDGE and
CONV, band by band where its codes do not fit at once.
"""

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Format, Opcode
from golden.accelerator.lowering.attention import attention_core
from golden.accelerator.lowering.bands import Band, bands, tile_rows
from golden.accelerator.lowering.images import Images
from golden.accelerator.operations import Operation, Place, Section, Space, Tensor
from golden.calibration.artifact import Artifact
from golden.calibration.topology import LayerSpec
from golden.errors import UserError

__all__ = ["Lowering"]

FORMATS = {"region": Format.REGION, "wide_silu": Format.WIDE, "wide_stream": Format.WIDE}
SETS = 256


class Lowering:
    """Operations of an artifact's network; ``band_words`` is the most that codes of a conv take."""

    def __init__(self, artifact: Artifact, config: AcceleratorConfig, band_words: int) -> None:
        self.artifact, self.config, self.band_words = artifact, config, band_words
        self.images = Images(artifact, config)
        self.operations: list[Operation] = []
        self._sets = 0
        self._shared: dict[str, Tensor] = {}
        height, width = artifact.config.sample_size
        self.image = Tensor(
            "x", Space.STREAM, 1, height * width, artifact.config.in_channels, height, width,
            persistent=True,
        )  # fmt: skip

    def emit(self, operation: Operation) -> None:
        """Append an operation."""
        self.operations.append(operation)

    def table(self, label: str, fields: dict[str, int]) -> dict[str, int]:
        """Emit a TABLE into the other bank; return the fields that name it."""
        if fields["chunks"] > self.config.channel_tiles:
            raise UserError(
                f"{label} has {fields['chunks']} output chunks, the scale file holds "
                f"{self.config.channel_tiles}; channel_tiles = {fields['chunks']} would fit"
            )
        names = {"table_set": self._sets % SETS, "bank": self._sets % 2}
        self._sets += 1
        self.emit(Operation(Opcode.TABLE, label, Section.STEP, {**fields, **names}))
        return names

    def conv(
        self,
        name: str,
        sources: tuple[Tensor, ...],
        residual: Tensor | None = None,
        *,
        in_place: bool = False,
        sums: bool = True,
        bank: int | None = None,
    ) -> Tensor:
        """Lower one layer; return its output.

        ``in_place``: it writes over ``residual``. ``sums``: a norm may read the output.
        """
        spec = self.artifact.layers[name]
        upper = 2 if spec.upsample else 1
        height = sources[0].height * upper // spec.stride
        width = sources[0].width * upper // spec.stride
        plane = height * width
        narrow = spec.out_width == 8
        if in_place and residual is not None:
            output = residual
        else:
            padded = -(-plane // self.config.size) * self.config.size
            output = Tensor(
                name,
                Space.CODES if narrow else Space.STREAM,
                self.config.chunks(spec.out_channels),
                padded if narrow else plane,
                spec.out_channels,
                height,
                width,
                bank,
            )
        fields = self.images.layer_tables(spec)
        if spec.norm is not None:
            parts = tuple(source.channels for source in sources)
            fields |= self.images.norm_block(spec.norm, parts, self.artifact.norms[spec.norm])
        names = self.table(name, fields)
        packed = spec.source == "image"
        wide = self.artifact.kind(name).startswith("wide")
        offset = self.images.conv_weights(
            spec, [source.channels for source in sources], 1 + wide, packed=packed
        )
        chunks = self._input_chunks(spec, sources)
        for band in bands(spec, (height, width), chunks, self.config, self.band_words):
            codes = self._codes(spec, sources, band, chunks, names)
            self._conv(spec, codes, output, residual, band, {**names, "offset": offset})
            if sums and not narrow:
                self.operations[-1].sums_to = output
        return output

    def _input_chunks(self, spec: LayerSpec, sources: tuple[Tensor, ...]) -> tuple[int, int]:
        if spec.source == "image":
            return self.config.chunks(spec.in_channels * spec.kernel**2), 0
        chunks = [source.chunks for source in sources]
        return chunks[0], sum(chunks[1:])

    def _codes(
        self,
        spec: LayerSpec,
        sources: tuple[Tensor, ...],
        band: Band,
        chunks: tuple[int, int],
        names: dict[str, int],
    ) -> Tensor:
        """Emit what makes the codes of a band; return them. An attention's output is codes."""
        if spec.source == "attention":
            return sources[0]
        shared = self._shared_key(spec, band)
        if shared in self._shared:
            return self._shared[shared]
        first = sources[0]
        kind = self.artifact.kind(spec.name)
        words = band.source_rows * first.width
        codes = Tensor(
            f"{spec.name} codes", Space.CODES, sum(chunks), words,
            sum(source.channels for source in sources), first.height, first.width,
        )  # fmt: skip
        fields = names | {
            "format": FORMATS.get(kind, Format.INT8),
            "chunks0": first.chunks,
            "height": first.height,
            "width": first.width,
            "row_first": band.source_first,
            "rows": band.source_rows,
            "source_plane": first.plane,
            "destination_plane": words,
        }
        if len(sources) == 2:
            fields |= {"chunks1": sources[1].chunks, "source1_plane": sources[1].plane}
        places = {"destination": Place(codes, 0, codes.words)}
        places |= {f"source{i}": Place(s, 0, s.words) for i, s in enumerate(sources)}
        operation = Operation(Opcode.EDGE, spec.name, Section.STEP, fields, places)
        operation.first_band = band.first
        if spec.norm is not None:
            self._norm_fields(operation, spec, sources)
        else:
            operation.stepped = None if spec.source == "image" else "source0"
        if spec.source == "image":
            fields |= {"window": 1, "chunks": sum(chunks), "channels": spec.in_channels}
        self.emit(operation)
        if shared:
            self._shared[shared] = codes
        return codes

    def _norm_fields(
        self, operation: Operation, spec: LayerSpec, sources: tuple[Tensor, ...]
    ) -> None:
        size = self.config.size
        per_group = spec.in_channels // self.artifact.config.norm_num_groups
        operation.opcode = Opcode.NORM
        operation.fields |= {
            "silu": int(spec.source == "silu"),
            "channels": sources[0].channels,
            "channels1": sources[1].channels if len(sources) == 2 else 0,
            "group_channels": per_group,
        }
        operation.sums_from = sources
        operation.stepped = "source0"
        # chunk c needs the groups of its last channel, which may end in a later chunk
        ends = [
            -(-min(size * (c + 1), sources[0].channels) // per_group) * per_group
            for c in range(sources[0].chunks)
        ]
        operation.ahead = max(-(-end // size) - (c + 1) for c, end in enumerate(ends))

    def _shared_key(self, spec: LayerSpec, band: Band) -> str:
        """Name under which equal codes are kept: those of q, k and v where their edges agree."""
        if spec.source != "norm":
            return ""
        tensors = self.artifact.tensors
        path = spec.attention
        same = all(
            (tensors[f"{path}.to_q.edge.{key}"] == tensors[f"{path}.to_{part}.edge.{key}"]).all()
            for key in ("M", "n")
            for part in "kv"
        )
        return f"{path} {band.source_first}" if same else ""

    def _conv(
        self,
        spec: LayerSpec,
        codes: Tensor,
        output: Tensor,
        residual: Tensor | None,
        band: Band,
        fields: dict[str, int],
    ) -> None:
        width = output.width
        first, words = band.first_row * width, band.rows * width
        packed = spec.source == "image"
        kind = self.artifact.kind(spec.name)
        chunks = (codes.chunks, 0)
        if len(spec.segments) == 2:
            chunks0 = self.config.chunks(spec.segments[0])
            chunks = (chunks0, codes.chunks - chunks0)
        wide = kind.startswith("wide")
        fields = fields | {
            "format": FORMATS.get(kind, Format.INT8),
            "kernel3": int(spec.kernel == 3 and not packed),
            "stride2": int(spec.stride == 2),
            "upsample": int(spec.upsample),
            "pad": int(spec.padding[0] == 1 and not packed),
            "narrow": int(output.space is Space.CODES),
            "residual": int(residual is not None),
            "chunks0": chunks[0],
            "chunks1": chunks[1],
            "chunks": output.chunks,
            "height": codes.height,
            "width": codes.width,
            "tile_rows": tile_rows(width, band.rows, self.config.depth),
            "row_first": band.first_row,
            "rows": band.rows,
            "source_row": 0 if spec.source == "attention" else band.source_first,
            "source_plane": codes.plane,
            "destination_plane": output.plane,
        }
        # a range of rows of every plane; one run of words that covers them
        span = (output.chunks - 1) * output.plane + words
        places = {
            "source0": Place(codes, 0, codes.words),
            "destination": Place(output, first, span),
        }
        if residual is not None:
            fields["auxiliary_plane"] = residual.plane
            places["auxiliary"] = Place(residual, first, span)
        self.emit(
            Operation(
                Opcode.CONV,
                spec.name,
                Section.STEP,
                fields,
                places,
                stepped="source0",
                first_band=band.first,
                macs=spec.out_channels * spec.in_channels * spec.kernel**2 * words * (1 + wide),
            )
        )

    def residual(self, path: str, sources: tuple[Tensor, ...]) -> Tensor:
        """Residual block: the shortcut runs between the convs and hides the second norm."""
        hidden = self.conv(f"{path}.conv1", sources)
        shortcut = f"{path}.conv_shortcut"
        if shortcut in self.artifact.layers:
            around = self.conv(shortcut, sources, sums=False)
            return self.conv(f"{path}.conv2", (hidden,), around, in_place=True)
        return self.conv(f"{path}.conv2", (hidden,), sources[0])

    def attention(self, path: str, x: Tensor) -> Tensor:
        """Self-attention over the pixels, added to the stream."""
        k = self.conv(f"{path}.to_k", (x,), bank=1)
        q = self.conv(f"{path}.to_q", (x,), bank=0)
        v = self.conv(f"{path}.to_v", (x,), bank=1)
        out = attention_core(self, path, q, k, v)
        return self.conv(f"{path}.to_out.0", (out,), x)

    def network(self) -> Tensor:
        """x_t -> eps."""
        config = self.artifact.config
        last = len(config.block_out_channels) - 1
        x = self.conv("conv_in", (self.image,))
        skips = [x]
        for i, block in enumerate(config.down_block_types):
            for j in range(config.layers_per_block):
                x = self.residual(f"down_blocks.{i}.resnets.{j}", (x,))
                if block.startswith("Attn"):
                    x = self.attention(f"down_blocks.{i}.attentions.{j}", x)
                skips.append(x)
            if i < last:
                x = self.conv(f"down_blocks.{i}.downsamplers.0.conv", (x,))
                skips.append(x)
        x = self.residual("mid_block.resnets.0", (x,))
        x = self.attention("mid_block.attentions.0", x)
        x = self.residual("mid_block.resnets.1", (x,))
        for i, block in enumerate(config.up_block_types):
            for j in range(config.layers_per_block + 1):
                x = self.residual(f"up_blocks.{i}.resnets.{j}", (x, skips.pop()))
                if block.startswith("Attn"):
                    x = self.attention(f"up_blocks.{i}.attentions.{j}", x)
            if i < last:
                x = self.conv(f"up_blocks.{i}.upsamplers.0.conv", (x,))
        return self.conv("conv_out", (x,))
