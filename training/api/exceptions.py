"""The HTTP statuses of training's refusals."""

from http import HTTPStatus

from labeling.api.exceptions import STATUS_OF
from training import errors


def register() -> None:
    STATUS_OF.update(
        {
            errors.ModelNotFound: HTTPStatus.NOT_FOUND,
            errors.RunNotFound: HTTPStatus.NOT_FOUND,
            errors.RunAlreadyThere: HTTPStatus.CONFLICT,
            errors.RunNotCancellable: HTTPStatus.CONFLICT,
            errors.NotPromotable: HTTPStatus.CONFLICT,
            errors.NothingToSample: HTTPStatus.CONFLICT,
        }
    )
