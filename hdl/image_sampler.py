"""Sampler update of whole pixels: their words in, lane after lane to the sampler, a word out."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import IMAGE_CHANNELS_MAX, SIZES
from hdl.checks import check_choice
from hdl.sampler import Sampler
from hdl.sampler_lane import ROW_LAYOUT, WIDTH
from hdl.vector_walk import SampleWord

__all__ = ["ImageSampler"]


class ImageSampler(wiring.Component):
    """A pixel is x, eps and noise, a word each, or x alone where ``image`` is set.

    Its channels, four at most, pass one :class:`~hdl.sampler.Sampler` of one lane; lanes behind
    them are 0 in the result.

    Parameters
    ----------
    size : int
        Lanes of a word: 4, 8, 16 or 32.

    Members
    -------
    image : In(1), channels : In(3), 1..4; hold still while a pixel is on its way
    i : stream of word (size x int16), which (``SampleWord``), last (word of its pixel)
    i_row : stream to the sampler's row
    o : stream of values (size x int16)

    Timing
    ------
    A pixel takes its words or its channels, whichever are more. Its word comes 11 + channels
    cycles after its last one.
    """

    i: stream.Interface
    i_row: stream.Interface
    o: stream.Interface
    image: Signal
    channels: Signal

    def __init__(self, *, size=16):
        self.size = check_choice("size", size, SIZES)
        self.word = data.ArrayLayout(signed(WIDTH), size)
        self.i_layout = data.StructLayout({"word": self.word, "which": 2, "last": 1})
        super().__init__(
            {
                "image": In(1),
                "channels": In(3),
                "i": In(stream.Signature(self.i_layout)),
                "i_row": In(stream.Signature(ROW_LAYOUT)),
                "o": Out(stream.Signature(self.word)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sampler = sampler = Sampler(lanes=1, side_width=1)
        wiring.connect(m, wiring.flipped(self.i_row), sampler.i_row)
        lanes = IMAGE_CHANNELS_MAX
        pixel = data.ArrayLayout(WIDTH, lanes)
        held = [Signal(pixel, name=f"held_{which.name.lower()}") for which in SampleWord]
        full = Signal()  # all words of a pixel are held
        moved = Signal()  # into the registers that shift
        given = self.i.payload
        m.d.comb += self.i.ready.eq(~full | moved)
        with m.If(moved):
            m.d.sync += full.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += full.eq(given.last)
            for which, word in zip(SampleWord, held, strict=True):
                with m.If(given.which == which):
                    m.d.sync += word.eq(given.word.as_value()[: pixel.size])

        shifting = [Signal(pixel, name=f"shifting_{which.name.lower()}") for which in SampleWord]
        left = Signal(3)
        passes = Signal()
        m.d.comb += [
            passes.eq(sampler.i.valid & sampler.i.ready),
            moved.eq(full & ((left == 0) | (passes & (left == 1)))),
            sampler.i.valid.eq(left != 0),
            sampler.i.payload.image.eq(self.image),
            sampler.i.payload.side.eq(left == 1),
        ]
        for name, word in zip(("x", "eps", "noise"), shifting, strict=True):
            m.d.comb += sampler.i.payload[name][0].eq(word[0].as_signed())
        with m.If(passes):
            m.d.sync += left.eq((left - 1)[: len(left)])
            for word in shifting:
                m.d.sync += word.eq(word.as_value() >> WIDTH)
        with m.If(moved):
            m.d.sync += left.eq(self.channels)
            for word, source in zip(shifting, held, strict=True):
                m.d.sync += word.eq(source)

        # values of a pixel, lane by lane
        lane = Signal(range(lanes))
        word = Signal(self.word)
        arrives = Signal()
        m.d.comb += [
            sampler.o.ready.eq(~self.o.valid | self.o.ready),
            arrives.eq(sampler.o.valid & sampler.o.ready),
            self.o.payload.eq(word),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(arrives):
            m.d.sync += [
                lane.eq((lane + 1)[: len(lane)]),
                self.o.valid.eq(sampler.o.payload.side),
            ]
            with m.If(sampler.o.payload.side):
                m.d.sync += lane.eq(0)
            with m.If(lane == 0):
                m.d.sync += word.as_value().eq(sampler.o.payload["values"][0].as_unsigned())
            for number in range(1, lanes):
                with m.If(lane == number):
                    m.d.sync += word[number].eq(sampler.o.payload["values"][0])
        return m
