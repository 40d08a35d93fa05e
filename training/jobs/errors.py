"""Refusals of the job contract. They carry the field at fault, never an HTTP status."""


class SpecError(ValueError):
    """A job spec that cannot work.

    ``field`` is the dotted name of the field at fault (``"params.n"``), ``message`` says what is
    wrong and how to mend it.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class FolderError(RuntimeError):
    """A job folder that is missing, incomplete or altered since it was written."""
