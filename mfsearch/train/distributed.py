"""A training in several processes, which all hold the same state after every step."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
TIMEOUT = timedelta(minutes=30)  # the longest wait for another process


class Processes(NamedTuple):
    """This process in its group. rank: 0 to size - 1; only rank 0 reads and writes the training's folder."""

    rank: int
    size: int
    device: torch.device

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its mean over the processes, in one exchange.

        The order of summation is the same in every run with this number of processes.
        """
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(mean.view_as(tensor))

    def summed(self, values: Sequence[float]) -> list[float]:
        """The sum of each number over the processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def from_first(self, make: Callable[[], T]) -> T:
        """The result of `make` in the first process, for all processes, whose folders may be on other machines; what it
        raises is raised in all."""
        if self.size == 1:
            return make()
        shared: list[Any] = [None, None]  # the result, or what was raised
        if self.rank == 0:
            try:
                shared[0] = make()
            except Exception as error:
                shared[1] = error
        dist.broadcast_object_list(shared, src=0, device=self.device)
        if shared[1] is not None:
            raise shared[1]
        result: T = shared[0]
        return result


@contextlib.contextmanager
def open_processes(device: str, size: int = 1, local_rank: int = 0) -> Iterator[Processes]:
    """Join the `size` processes that torchrun started; with size 1, this one alone. device: cpu or cuda, which uses
    GPU number `local_rank`; ValueError if it does not exist."""
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch finds no CUDA device here; --device cpu trains on the processor")
    if size == 1:
        yield Processes(0, 1, torch.device(device))
        return
    place = torch.device(device)
    if device == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise ValueError(f"process {local_rank} here has no GPU of its own: there are {torch.cuda.device_count()}")
        place = torch.device("cuda", local_rank)
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Processes(dist.get_rank(), size, place)
    finally:
        dist.destroy_process_group()
