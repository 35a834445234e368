"""3x3 windows of an image: nine taps of all channels packed into words, for the first conv."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import IMAGE_CHANNELS_MAX, SIZES
from golden.operand import CODE_BITS
from hdl.checks import check_choice, check_size

__all__ = ["Window"]

TAPS = 9
PACKED = TAPS * IMAGE_CHANNELS_MAX


class Window(wiring.Component):
    """Lane ``size*chunk + l`` of a pixel's packed codes is tap ``lane // channels``, channel
    ``lane % channels``; taps outside the image and lanes behind the ninth tap are 0.

    The image comes in raster order, each row followed by a beat of zeros, the last row by a row of
    zeros (``width + 1`` beats); once for each chunk of packed words. So zeros stand left, right
    and below by themselves, and the two rows above are masked.

    ========  ==================================================================
    register  holds
    ========  ==================================================================
    1         the code; its column of the two rows above is read
    2         a column of three more: the window's nine taps, center behind it
    3         packed for the number of channels
    4         a chunk of it, at ``o``
    ========  ==================================================================

    Parameters
    ----------
    size : int
        Lanes of a word: 4, 8, 16 or 32.
    depth : int
        Largest width of an image, 1..4096.

    Members
    -------
    start : In(1), pulse: the next beat is the first of an image; nothing is on its way
    width : In(11), height : In(10), channels : In(3), 1..4; hold still from ``start`` on
    i : stream of codes (size x 12), of which the first four lanes count
    o : stream of codes (size x 12), a word for each pixel

    Timing
    ------
    The window of a pixel is complete with the beat below and right of it, and at ``o`` four cycles
    later; one beat a cycle, ``i.ready = o.ready | ~o.valid``.
    """

    i: stream.Interface
    o: stream.Interface
    start: Signal
    width: Signal
    height: Signal
    channels: Signal

    def __init__(self, *, size=16, depth=256):
        self.size = check_choice("size", size, SIZES)
        self.depth = check_size("depth", depth, 1, 4096)
        layout = data.ArrayLayout(CODE_BITS, size)
        super().__init__(
            {
                "start": In(1),
                "width": In(11),
                "height": In(10),
                "channels": In(3),
                "i": In(stream.Signature(layout)),
                "o": Out(stream.Signature(layout)),
            }
        )

    @property
    def latency(self):
        """Cycles from the beat that completes a window to its word."""
        return 4

    def elaborate(self, platform):
        m = Module()
        pixel = data.ArrayLayout(CODE_BITS, IMAGE_CHANNELS_MAX)
        moves, takes = Signal(), Signal()
        m.d.comb += [
            moves.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(moves),
            takes.eq(self.i.valid & moves),
        ]
        chunks = -(-PACKED // self.size)
        column, row, chunk = Signal(11), Signal(10), Signal(range(chunks))
        with m.If(takes):
            m.d.sync += column.eq((column + 1)[: len(column)])
            with m.If(column == self.width):
                m.d.sync += [column.eq(0), row.eq((row + 1)[: len(row)])]
                with m.If(row == self.height):
                    m.d.sync += [row.eq(0), chunk.eq((chunk + 1)[: len(chunk)])]
        with m.If(self.start):
            m.d.sync += [column.eq(0), row.eq(0), chunk.eq(0)]

        # 1
        m.submodules.rows = memory = Memory(
            shape=2 * pixel.size, depth=self.depth, init=[], attrs={"no_rw_check": "1"}
        )
        read, write = memory.read_port(), memory.write_port()
        valid = Signal(4)  # a beat; from register 2 on a complete window
        code = Signal(pixel)
        place = Signal.like(write.addr)
        first_row, second_row, inside, complete = (Signal() for _ in range(4))
        chunk_1, chunk_2, chunk_3 = (Signal.like(chunk, name=f"chunk_{n}") for n in (1, 2, 3))
        m.d.comb += [read.addr.eq(column[: len(place)]), read.en.eq(moves)]
        with m.If(moves):
            m.d.sync += [
                valid.eq(Cat(takes, valid[0] & complete, valid[1:])),
                *(code[lane].eq(self.i.payload[lane]) for lane in range(IMAGE_CHANNELS_MAX)),
                place.eq(column[: len(place)]),
                first_row.eq(row == 0),
                second_row.eq(row == 1),
                inside.eq(column != self.width),
                complete.eq((row != 0) & (column != 0)),
                chunk_1.eq(chunk),
                chunk_2.eq(chunk_1),
                chunk_3.eq(chunk_2),
            ]

        # 2
        above = Signal(data.ArrayLayout(pixel, 2))  # the row above, and the one above that
        taps = [Signal(data.ArrayLayout(pixel, 3), name=f"taps_{dx}") for dx in range(3)]
        m.d.comb += [
            above[0].eq(read.data[: pixel.size] & ~(first_row | ~inside).replicate(pixel.size)),
            above[1].eq(
                read.data[pixel.size :] & ~(first_row | second_row | ~inside).replicate(pixel.size)
            ),
            write.addr.eq(place),
            write.data.eq(Cat(code, above[0])),
            write.en.eq(moves & valid[0] & inside),
        ]
        with m.If(moves & valid[0]):
            m.d.sync += [
                taps[0].eq(taps[1]),
                taps[1].eq(taps[2]),
                taps[2].eq(Cat(above[1], above[0], code)),
            ]

        # 3 and 4
        packed = Signal(data.ArrayLayout(CODE_BITS, chunks * self.size))
        with m.If(moves):
            with m.Switch(self.channels):
                for channels in range(1, IMAGE_CHANNELS_MAX + 1):
                    with m.Case(channels):
                        for lane in range(len(packed.as_value()) // CODE_BITS):
                            tap, channel = divmod(lane, channels)
                            value: Value = Const(0, CODE_BITS)
                            if tap < TAPS:
                                value = taps[tap % 3][tap // 3][channel]
                            m.d.sync += packed[lane].eq(value)
            word = packed.as_value().word_select(chunk_3, self.size * CODE_BITS)
            m.d.sync += self.o.payload.as_value().eq(word)
        m.d.comb += self.o.valid.eq(valid[3])
        return m
