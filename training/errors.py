"""What training refuses, in the shape of labeling's refusals: one handler answers for both."""

from __future__ import annotations

from labeling.errors import LabelingError


class RunRefused(LabelingError):
    code = "run_refused"
    message = "A run with this specification cannot work."


class ModelNotFound(LabelingError):
    code = "model_not_found"
    message = "There is no such model."


class NothingToSample(LabelingError):
    code = "nothing_to_sample"
    message = "Every prompt of this pool has its completions in the current round."


class NoTrainingData(LabelingError):
    code = "no_training_data"
    message = "There is nothing to train on yet."


class RunNotFound(LabelingError):
    code = "run_not_found"
    message = "There is no such run."


class RunAlreadyThere(LabelingError):
    code = "run_exists"
    message = "The same run is already queued or running."


class RunNotCancellable(LabelingError):
    code = "run_not_cancellable"
    message = "The run has already ended."


class NotPromotable(LabelingError):
    code = "not_promotable"
    message = "This model cannot be promoted."


class RunFenced(Exception):
    """The run's lease went to another worker, or the run has ended: stop and publish nothing."""
