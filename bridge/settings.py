"""From a YAML file and the environment to a `Config`, with errors that name the line and what would be right."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from bridge.config import TOOL_TAGS, Config, Misplaced

PREFIX = "BRIDGE_"
_VARIABLE = re.compile(r"\$\{(\w+(?::-[^}\n]*)?)\}")
_MARKED = re.compile("\ue000(\\w+)(?::-([^\ue001]*))?\ue001")
"""A variable while YAML is read: `${NAME}` itself could not stand unquoted inside `{...}`."""
_Place = tuple[str | int, ...]
_SECTIONS = {
    "model_type": "{0}",
    "model_attributes_type": "{0}",
    "dict_type": "{{NAME: {0}}}",
    "tuple_type": "a list: [{0}]",
}
"""How what is no plain value is written, by pydantic's word for the fault."""


class _Loader(yaml.SafeLoader):
    """YAML in which a telephone number stays what it is: 0600 is no octal number, +4930 no integer, 12:30 no time."""


_INTEGER = "tag:yaml.org,2002:int"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INTEGER, "tag:yaml.org,2002:timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INTEGER, re.compile(r"-?(?:0|[1-9][0-9]*)\Z"), list("-0123456789"))


class ConfigError(Exception):
    """The configuration cannot be used; the text holds one line per fault."""


class _Twice(Exception):
    def __init__(self, line: int, key: str) -> None:
        super().__init__(line, key)
        self.line = line
        self.key = key


def load(path: Path | None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration of a file (None: the defaults) with the environment over it. Raises ConfigError."""
    tree, lines = _read(path, environ) if path else ({}, {})
    sources: dict[_Place, str] = {place: f"{path}:{line}" for place, line in lines.items()}
    for name, text in sorted(environ.items()):
        place = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
        if name.startswith(PREFIX) and (len(place) > 1 or place[0] in Config.model_fields):
            _overlay(tree, place, _scalar(name, text, place), name)
            sources[place] = name
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        faults = [_explain(dict(fault), sources, str(path or "environment")) for fault in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(faults))) from None


def _read(path: Path, environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[_Place, int]]:
    try:
        text = _VARIABLE.sub("\ue000\\1\ue001", path.read_text(encoding="utf-8"))
        root = yaml.compose(text, Loader=_Loader)
        tree = yaml.load(text, Loader=_Loader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict) or root is None:
        raise ConfigError(f"{path}:1: write sections such as `sip:` and `agents:`")
    lines: dict[_Place, int] = {}
    try:
        _index(root, (), lines)
    except _Twice as twice:
        raise ConfigError(f"{path}:{twice.line}: {twice.key}: stands in the file twice: keep one") from None
    expanded = _expand(tree, (), environ, lambda place: f"{path}:{lines.get(place, 1)}")
    assert isinstance(expanded, dict)
    return expanded, lines


def _index(node: yaml.Node, place: _Place, lines: dict[_Place, int]) -> None:
    """Note the line of every key, and find keys that stand twice: YAML would take the last and say nothing."""
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*place, str(key.value))
            if below in lines:
                raise _Twice(key.start_mark.line + 1, _dotted(below))
            lines[below] = key.start_mark.line + 1
            _index(value, below, lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _index(value, (*place, number), lines)


def _expand(value: Any, place: _Place, environ: Mapping[str, str], where: Any) -> Any:
    """Replace ${NAME} and ${NAME:-default} in every string."""
    if isinstance(value, dict):
        return {str(key): _expand(item, (*place, str(key)), environ, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, (*place, number), environ, where) for number, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        found = environ.get(match[1], match[2])
        if found is None:
            name = match[1]
            raise ConfigError(
                f"{where(place)}: {_dotted(place)}: ${{{name}}} is not set in the environment: set {name}"
            )
        return found

    return _MARKED.sub(replace, value)


def _scalar(name: str, text: str, place: _Place) -> Any:
    if place[-1] == "password":
        return text
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise ConfigError(f"{name}: not a YAML value; put quotes around text with special characters") from None
    return text if value is None and text.strip() not in ("null", "~") else value


def _overlay(tree: dict[str, Any], place: tuple[str, ...], value: Any, name: str) -> None:
    for part in place[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{name}: {part} is not a section; it has a value of its own")
        tree = below
    tree[place[-1]] = value


def _dotted(place: _Place) -> str:
    return ".".join(str(part) for part in place) or "the file"


def _explain(fault: dict[str, Any], sources: Mapping[_Place, str], fallback: str) -> str:
    full: _Place = tuple(part for part in fault["loc"] if part != "[key]")
    place = tuple(part for before, part in zip(("", *full), full, strict=False) if not _is_tag(before, part))
    error = fault.get("ctx", {}).get("error")
    if isinstance(error, Misplaced):
        full = place = error.place
    place = _as_written(place, sources)
    origin = place
    while origin and origin not in sources:
        origin = origin[:-1]
    return f"{sources.get(origin, fallback)}: {_dotted(place)}: {_reason(fault, place, full)}"


def _is_tag(before: str | int, part: str | int) -> bool:
    """Whether a part of a place is no key of the file, but the kind of section that stands there."""
    return part in TOOL_TAGS or (before == "turn_detection" and part in ("server_vad", "semantic_vad", "manual"))


def _as_written(place: _Place, sources: Mapping[_Place, str]) -> _Place:
    """The place without the number of the one element that may be written without a list."""
    written: _Place = ()
    for part in place:
        below = (source for source in sources if len(source) > len(written) and source[: len(written)] == written)
        if isinstance(part, int) and (*written, part) not in sources and any(below):
            continue
        written = (*written, part)
    return written


def _reason(fault: dict[str, Any], place: _Place, full: _Place) -> str:
    """`full` is the place with the kinds of sections."""
    kind, context, value = fault["type"], fault.get("ctx", {}), fault["input"]
    if kind == "extra_forbidden":
        return _unknown_key(full)
    if kind == "union_tag_invalid":
        return f"{context['tag']!r}: use {context['expected_tags']}"
    if kind == "missing":
        return "must be given"
    if kind == "value_error":
        shown = "" if isinstance(value, dict | BaseModel) or _is_secret(place) else f"{value!r}: "
        return f"{shown}{context['error']}"
    if kind in _SECTIONS:
        shown = "" if _is_secret(place) else f"{value!r}: "
        return f"{shown}write {_SECTIONS[kind].format(_example(place))}"
    if _is_secret(place):
        return f"{fault['msg'][:1].lower()}{fault['msg'][1:]}"
    return f"{value!r}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"


def _is_secret(place: _Place) -> bool:
    """Whether a wrong value might be a password that stands in the wrong place."""
    if "tools" in place and not {"secret", "authorization", "headers"}.isdisjoint(place):
        return True
    return not {"password", "key", "users"}.isdisjoint(place) and place[:2] != ("sip", "tls")


def _unknown_key(place: _Place) -> str:
    known = sorted(_keys_at(place[:-1]))
    close = difflib.get_close_matches(str(place[-1]), known, 1)
    hint = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(known)}"
    return f"unknown key; {hint}"


def _keys_at(place: _Place) -> set[str]:
    """The keys a section knows, found by walking the models down the place."""
    return {field.alias or name for model in _sections_at(place) for name, field in model.model_fields.items()}


def _sections_at(place: _Place) -> list[type[BaseModel]]:
    models: list[type[BaseModel]] = [Config]
    for part in place:
        fields = [
            field for model in models for name, field in model.model_fields.items() if part in (name, field.alias)
        ]
        annotations = [field.annotation for field in fields]
        if annotations:
            models = [model for annotation in annotations for model in _models(annotation)]
        else:
            models = [model for model in models if str(part) in _kinds(model)] or models
    return models


def _kinds(model: type[BaseModel]) -> set[str]:
    """The tags of a model that is one of several."""
    kind = model.model_fields.get("type")
    return {tag for name in get_args(kind.annotation) for tag in (name, f"type: {name}")} if kind is not None else set()


def _example(place: _Place) -> str:
    """How the section at a place begins: with what it must have, else with its first key."""
    models = _sections_at(place)
    if not models:
        return "..."
    fields = [(field.alias or name, field) for name, field in models[0].model_fields.items()]
    shown = [(name, field) for name, field in fields if field.is_required()] or fields[:1]
    values = [field.default if isinstance(field.default, str | int) else "..." for _, field in shown]
    return f"{{{', '.join(f'{name}: {value}' for (name, _), value in zip(shown, values, strict=True))}}}"


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]
