"""What a worker does with a run: claim, freeze the data, supervise the trainer, publish."""

from training.execution.worker import run_next

__all__ = ["run_next"]
