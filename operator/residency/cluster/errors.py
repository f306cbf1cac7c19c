"""What can go wrong between us and an API server."""

from http import HTTPStatus
from typing import Final

LONGEST: Final = 600
"""Characters of an answer that are worth repeating: a refused policy is quoted back in full, and more."""


class ConfigurationError(Exception):
    """There is no usable way to a cluster; the text says what was looked at and what would do."""


class Unreachable(Exception):
    """No answer came from the API server: connection, TLS or time."""


class Silent(Unreachable):
    """A connection that was open has carried nothing for too long."""


class ApiError(Exception):
    """The API server answered, and said no."""

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float = 0.0, causes: tuple[str, ...] = ()
    ) -> None:
        """Keep the fields of a Kubernetes ``Status`` that matter, and the pause in seconds that was asked for."""
        super().__init__(f"{' '.join(message.split())[:LONGEST]} ({status} {reason})".replace(" )", ")"))
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.causes = causes
        """One word each."""

    @property
    def not_found(self) -> bool:
        """Whether the object, or the kind itself, does not exist."""
        return self.status == HTTPStatus.NOT_FOUND

    @property
    def conflict(self) -> bool:
        """Whether somebody else wrote the object since it was read."""
        return self.status == HTTPStatus.CONFLICT and self.reason != "AlreadyExists"

    @property
    def invalid(self) -> bool:
        """Whether the object itself is refused, whoever sends it and whenever."""
        return self.status in (
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )

    @property
    def refused(self) -> bool:
        """Whether it was not wanted, and will not be a moment later."""
        return 400 <= self.status < 500 and self.status != HTTPStatus.TOO_MANY_REQUESTS

    @property
    def over_budget(self) -> bool:
        """Whether a PodDisruptionBudget stands against an eviction; otherwise the API server is just busy."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS and "DisruptionBudget" in self.causes

    @property
    def expired(self) -> bool:
        """Whether a list took longer than the API server remembers its beginning."""
        return self.status == HTTPStatus.GONE
