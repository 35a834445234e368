"""External memory's read side: requests become bursts, one client's before the other's.

Four clients, the first with priority. A burst is at most 16 beats, stays within 4 KB, and is asked
for when the client's buffer has room for all of it. Memory takes a burst in every cycle and gives
a beat in every cycle, the first one ``latency`` cycles after it took the burst.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from golden.accelerator.timing.clock import Clock
from golden.accelerator.timing.latencies import Memory

__all__ = ["Bus", "burst_lengths"]

BURST = 16
PAGE = 4096
WANTS = 2  # cycles from an accepted request, or a burst, to the next burst at the earliest
BUS = 1  # from the decision to the bus
THROUGH = 2  # from the bus through the buffer

Taken = Callable[[int], None]
Deliver = Callable[[int, int], None]


def burst_length(address: int, beats: int, width: int) -> int:
    """Beats of the next burst of ``beats`` from ``address`` on."""
    return min(beats, (PAGE - address % PAGE) // width, BURST)


def burst_lengths(address: int, beats: int, width: int) -> list[int]:
    """Beats of all bursts."""
    found = []
    while beats:
        found.append(burst_length(address, beats, width))
        address, beats = address + found[-1] * width, beats - found[-1]
    return found


def _nothing(cycle: int) -> None:
    """Nobody wants to know when the request was accepted."""


@dataclass
class _Client:
    """``wants``: cycle from which a burst of ``length`` beats is wanted, -1 for none."""

    deliver: Deliver
    room: int
    requests: deque[tuple[int, int, int, Taken]] = field(default_factory=deque)
    rest: int = 0
    wants: int = -1
    address: int = 0
    left: int = 0
    length: int = 0
    freed: deque[int] = field(default_factory=deque)

    def fits(self, cycle: int) -> bool:
        """Whether the buffer has room for the burst."""
        while self.freed and self.freed[0] <= cycle:
            self.freed.popleft()
            self.room += 1
        return self.room >= self.length

    def fits_at(self) -> int:
        """Cycle in which the burst will fit, -1 if that is not known."""
        missing = self.length - self.room
        return self.freed[missing - 1] if 0 < missing <= len(self.freed) else -1


class Bus:
    """Requests in, cycles of their beats out."""

    def __init__(self, clock: Clock, memory: Memory) -> None:
        self.clock, self.memory = clock, memory
        self.bytes_read = 0
        self.reads: list[tuple[int, int]] = []  # first cycle and beats of every burst
        self._clients: dict[str, _Client] = {}
        self._free = 0  # cycle of memory's next beat
        self._under_way: deque[int] = deque()  # cycles of the last beats
        self._planned: set[int] = set()

    def connect(self, name: str, deliver: Deliver) -> None:
        """Add a client, the first one first; ``deliver`` gets cycle and number of its beats."""
        self._clients[name] = _Client(deliver, self.memory.buffer)

    def ask(self, name: str, offset: int, beats: int, valid: int, taken: Taken = _nothing) -> None:
        """Request ``beats`` from ``valid`` on; ``taken`` gets the cycle in which it is accepted."""
        client = self._clients[name]
        client.requests.append((offset, beats, valid, taken))
        if client.wants < 0:
            self._accept(client)

    def free(self, name: str, cycle: int) -> None:
        """From ``cycle`` on the client's buffer has room for one beat more."""
        client = self._clients[name]
        client.freed.append(cycle)
        if 0 <= client.wants <= self.clock.now and len(client.freed) + client.room == client.length:
            self._plan(max(self.clock.now, cycle))

    def _accept(self, client: _Client) -> None:
        if not client.requests:
            return
        client.address, client.left, valid, taken = client.requests.popleft()
        accepted = max(client.rest, valid, self.clock.now)
        self._size(client, accepted)
        taken(accepted)

    def _size(self, client: _Client, cycle: int) -> None:
        client.length = burst_length(client.address, client.left, self.memory.width)
        client.wants = cycle + WANTS
        self._plan(client.wants)

    def _plan(self, cycle: int) -> None:
        if cycle not in self._planned:
            self._planned.add(cycle)
            self.clock.at(cycle, self._decide)

    def _decide(self) -> None:
        """Give the bus to the first client that wants a burst and has room for it."""
        now = self.clock.now
        self._planned.discard(now)
        while self._under_way and self._under_way[0] < now:
            self._under_way.popleft()
        if len(self._under_way) == self.memory.outstanding:
            if any(0 <= client.wants <= now for client in self._clients.values()):
                self._plan(self._under_way[0] + 1)
            return
        granted = False
        for client in self._clients.values():
            if not 0 <= client.wants <= now:
                continue
            if granted:
                self._plan(now + 1)
            elif client.fits(now):
                granted = True
                self._grant(client)
            elif (cycle := client.fits_at()) >= 0:
                self._plan(cycle)

    def _grant(self, client: _Client) -> None:
        now, length = self.clock.now, client.length
        # no memory answers in the cycle of its request
        first = max(now + BUS + max(self.memory.latency, 1), self._free)
        self._free = first + length
        self._under_way.append(first + length - 1)
        self.reads.append((first, length))
        self.bytes_read += length * self.memory.width
        client.room -= length
        client.left -= length
        client.address += length * self.memory.width
        client.wants = -1
        if client.left:
            self._size(client, now)
        else:
            client.rest = now + 1
            self._accept(client)
        client.deliver(first + THROUGH, length)
