"""What goes wrong with a control plane, told in a way that says what to do."""

from collections.abc import Sequence


class ControlPlaneError(Exception):
    """Something about the control plane failed; the message says what and where."""


class CommandError(ControlPlaneError):
    """A kubectl or helm command ended with an exit status other than 0."""

    def __init__(self, command: Sequence[str], status: int, stdout: str, stderr: str) -> None:
        super().__init__(f"`{' '.join(command)}` ended with {status}: {stderr.strip() or stdout.strip()}")
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


class RequestError(ControlPlaneError):
    """The API server answered a request with a status of 400 or more."""

    def __init__(self, request: str, status: int, message: str) -> None:
        super().__init__(f"{request} was answered with {status}: {message}")
        self.status = status
        self.message = message
