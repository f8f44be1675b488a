"""Small checks that client events are built from: value and path in, value out, Refusal when it is wrong."""

from collections.abc import Callable, Mapping
from typing import Any

from bridge.agent.refusal import missing, unknown_parameter, wrong_type, wrong_value

Check = Callable[[Any, str], Any]


def text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    return value


def boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean", value)
    return value


def anything(value: Any, path: str) -> Any:
    return value


def text_up_to(length: int) -> Check:
    def check(value: Any, path: str) -> str:
        if len(text(value, path)) > length:
            raise wrong_value(path, f"at most {length} characters long")
        return str(value)

    return check


def integer(low: int, high: int) -> Check:
    def check(value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(path, "an integer", value)
        if not low <= value <= high:
            raise wrong_value(path, f"between {low} and {high}")
        return value

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong_type(path, "a number", value)
        if not low <= value <= high:
            raise wrong_value(path, f"between {low} and {high}")
        return float(value)

    return check


def one_of(*allowed: str) -> Check:
    def check(value: Any, path: str) -> str:
        if text(value, path) not in allowed:
            raise wrong_value(path, "one of " + ", ".join(repr(word) for word in allowed))
        return str(value)

    return check


def nullable(inner: Check) -> Check:
    def check(value: Any, path: str) -> Any:
        return None if value is None else inner(value, path)

    return check


def list_of(inner: Check) -> Check:
    def check(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise wrong_type(path, "an array", value)
        return [inner(entry, f"{path}[{index}]") for index, entry in enumerate(value)]

    return check


def mapping(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    return value


def record(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    """An object with exactly these members; the result holds only the members that were there."""

    def check(value: Any, path: str) -> dict[str, Any]:
        prefix = f"{path}." if path else ""
        given = mapping(value, path)
        for key in given:
            if key not in fields:
                raise unknown_parameter(prefix + key)
        for key in required:
            if key not in given:
                raise missing(prefix + key)
        return {key: fields[key](entry, prefix + key) for key, entry in given.items()}

    return check


def by_type(variants: Mapping[str, Check]) -> Check:
    """An object whose member `type` chooses its check."""

    def check(value: Any, path: str) -> Any:
        given = mapping(value, path)
        if "type" not in given:
            raise missing(f"{path}.type")
        return variants[one_of(*variants)(given["type"], f"{path}.type")](value, path)

    return check
