"""What stops a trainer. The message is shown to the person who started the run."""


class TrainingError(RuntimeError):
    """The data or a model cannot be used; the message says what is wrong and how to mend it."""


class Interrupted(Exception):
    """Stopped on request; what is needed to go on lies in the job folder."""
