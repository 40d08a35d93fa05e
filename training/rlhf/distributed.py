"""The processes of one run. ``accelerate launch`` starts several; each is a rank.

Alone, every function here is the identity, so the rest of the trainer has one path for both. Sums
over ranks are over all of them: a mean taken a rank at a time is another number as soon as the
ranks hold different counts.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

T = TypeVar("T")

DEEPSPEED = "ACCELERATE_USE_DEEPSPEED"
# While one rank writes a checkpoint, the others wait. The default of 10 minutes on GPUs is short
# for large models on slow disks; a rank that is gone ends the others through the launcher anyway.
PATIENCE = timedelta(hours=2)


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def start() -> None:
    """Join the other ranks, if the environment names any.

    On GPUs both backends are opened: counts and texts travel between CPUs.
    """
    on_gpu = torch.cuda.is_available()
    if launched() and not dist.is_initialized():
        if on_gpu:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
        # Left open, its threads are still running when the interpreter goes, and now and then abort
        # a process whose work is done.
        atexit.register(_leave)
    PartialState(cpu=not on_gpu)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def end(status: int) -> NoReturn:
    """End this rank, whose work is done and written.

    The interpreter is not taken down piece by piece: even after its group is left, a rank of a
    sharded run was seen to abort there, with all of its work written.
    """
    _leave()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def sharded() -> str | None:
    """What spreads one model's weights over the ranks, if anything does."""
    for name, variable in (("FSDP", "ACCELERATE_USE_FSDP"), ("DeepSpeed", DEEPSPEED)):
        if os.environ.get(variable, "false").lower() in {"1", "true"}:
            return name
    return None


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model whose weights may be spread over the ranks. Every rank must ask; where
    there is anything to gather, the main one is given it, on the CPU.
    """
    if sharded() is None:
        return dict(model.state_dict())
    state = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        whole = _whole(tensor)
        if is_main():
            state[name] = whole
    return state


def _whole(tensor: Tensor) -> Tensor:
    if isinstance(tensor, DTensor):
        return tensor.full_tensor().detach().cpu()
    if hasattr(tensor, "ds_id"):
        # ZeRO-3 leaves an empty tensor in the model.
        from deepspeed.zero import GatheredParameters

        with GatheredParameters([tensor]):
            return tensor.detach().cpu().clone()
    return tensor.detach().cpu()


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this rank writes: events, checkpoints and artifacts have one author."""
    return rank() == 0


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def total(values: Tensor) -> Tensor:
    """Elementwise sum over all ranks, on each of them. The argument is left as it is."""
    if world_size() == 1:
        return values
    summed = values.detach().clone()
    dist.all_reduce(summed)
    return summed


def any_rank(flag: bool) -> bool:
    """Whether it holds on some rank: a SIGTERM may reach one before the others."""
    return flag if world_size() == 1 else any(gather([flag]))


def from_main(work: Callable[[], T]) -> T:
    """What ``work`` gives on the main rank, on each of them; it runs there alone."""
    return gather([work()] if is_main() else [])[0]


def is_first(what: str) -> bool:
    """Whether no rank has asked this before. Needs no other rank to be alive; those that have not
    met yet leave it to the main one.
    """
    if not dist.is_initialized():
        return os.environ.get("RANK", "0") == "0"
    store = dist.distributed_c10d._get_default_store()
    return bool(store.add(f"podium-{what}", 1) == 1)


def gather(items: list[T]) -> list[T]:
    """The items of all ranks, in the order of ranks, on each of them."""
    if world_size() == 1:
        return items
    lists: list[list[T]] = [[] for _ in range(world_size())]
    dist.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def share(items: list[T]) -> list[T]:
    """This rank's part: contiguous, so that ``gather(share(items)) == items``."""
    size, left_over = divmod(len(items), world_size())
    sizes = [size + (r < left_over) for r in range(world_size())]
    begin = sum(sizes[: rank()])
    return items[begin : begin + sizes[rank()]]
