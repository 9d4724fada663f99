"""A training step as CUDA graphs: the processor starts one thing in place of twenty thousand.

A graph repeats the kernels that it has seen, on the same memory, with the same plain numbers. So it may hold only what
reads nothing back and whose shapes and numbers are all in the key that it is kept under; `Reads` finds the rest.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MOST = 24
"""Graphs kept for one function; one more takes the place of the one that was not used for longest."""
META = torch.device("meta")
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")


class Reads(TorchDispatchMode):
    """Notes, while it is entered, what a graph could not hold: operations that read a value from the device or whose
    result has a shape that depends on values, and those that mix devices, whose host part a graph would freeze."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs or {}, result)) if isinstance(t, Tensor)]
        if getattr(func, "overloadpacket", func).__name__ in INDEXING:
            reads = any(t.dtype in (torch.bool, torch.uint8) for t in tree_leaves(args[1]) if t is not None)
        else:
            reads = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(getattr(func, "tags", ()))
        if reads or len({t.device for t in tensors} - {META}) > 1:
            self.found.append(str(func))
        return result


class CudaCapture:
    """What `Graphs` asks of a device. generators: all that the captured functions draw from, beside the default one."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators, self.pool = generators, torch.cuda.graph_pool_handle()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Where a function runs for the first time, so that all it allocates once is there before it is captured."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            yield
        torch.cuda.current_stream().wait_stream(stream)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """What repeats the function on the same memory; the function itself has then computed nothing."""
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        for generator in self.generators:
            graph.register_generator_state(generator)
        try:
            # one pool for all: what a graph leaves for others lies in memory that was there before it
            with torch.cuda.graph(graph, pool=self.pool):
                function()
        finally:
            torch.cuda.set_stream(before)  # a capture that fails leaves its own
        return graph.replay


class Graphs:
    """One function at a time, run as the graph that is kept under a key.

    The first run under a key is a plain one, under the eyes of `Reads`, and warms up; the second is captured, and from
    then on it is replayed. All are steps of the training, so that no number depends on what was captured when. Where a
    read was found, or the capture fails, everything runs plainly from there on, and `tell` is told why, once.
    """

    def __init__(self, capture: CudaCapture, tell: Callable[[str], None]) -> None:
        self._capture, self._tell = capture, tell
        self._met: set[Hashable] = set()
        self._kept: dict[Hashable, Callable[[], None]] = {}
        self._possible = True

    def run(self, key: Hashable, function: Callable[[], None]) -> None:
        if not self._possible:
            function()
        elif key not in self._met:
            self._met.add(key)
            self._watched(function)
        elif key in self._kept or self._captured(key, function):
            self._kept[key] = replay = self._kept.pop(key)  # now the last one used
            replay()
        else:
            function()

    def give_up(self, why: str) -> None:
        self._possible = False
        self._kept.clear()
        self._tell(f"runs without CUDA graphs, several times slower: {why}")

    def _watched(self, function: Callable[[], None]) -> None:
        with self._capture.aside(), Reads() as reads:
            function()
        if reads.found:
            self.give_up(f"a step reads values from the device ({', '.join(sorted(set(reads.found)))})")

    def _captured(self, key: Hashable, function: Callable[[], None]) -> bool:
        try:
            made = self._capture.capture(function)
        except RuntimeError as error:
            self.give_up(f"the capture failed: {str(error).splitlines()[0]}")
            return False
        if len(self._kept) >= MOST:
            del self._kept[next(iter(self._kept))]  # the oldest
        self._kept[key] = made
        return True
