"""A client event that is not obeyed, and why: the value behind every `error` event."""


class Refusal(Exception):
    """Why a client event was refused. Raised before anything of the event has been applied."""

    def __init__(
        self, code: str | None, message: str, param: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind


def unknown_parameter(path: str) -> Refusal:
    return Refusal("unknown_parameter", f"Unknown parameter: '{path}'.", path)


def missing(path: str) -> Refusal:
    return Refusal("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def wrong_type(path: str, wanted: str, value: object) -> Refusal:
    got = "null" if value is None else type(value).__name__
    return Refusal("invalid_type", f"Invalid type for '{path}': expected {wanted}, but got {got}.", path)


def wrong_value(path: str, wanted: str) -> Refusal:
    return Refusal("invalid_value", f"Invalid value for '{path}': it must be {wanted}.", path)
