"""A pipeline of the built-in agent that stands alone in a file, for `sipbridge agent --pipeline FILE`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bridge.config.pipeline import Pipeline
from bridge.settings import ConfigError

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}\n]*))?\}")


def load_pipeline(path: Path, environ: Mapping[str, str]) -> Pipeline:
    """What `agents.<name>.pipeline` would hold, `${NAME}` from the environment in it. Raises ConfigError."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Pipeline.model_validate(_expanded(tree if tree is not None else {}, environ))
    except ValidationError as error:
        faults = [_explained(path, dict(fault)) for fault in error.errors(include_url=False)]
        raise ConfigError("\n".join(dict.fromkeys(faults))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError:
        raise ConfigError(f"{path}: not YAML") from None
    except KeyError as error:
        raise ConfigError(f"{path}: ${{{error.args[0]}}} is not set in the environment") from None


def _expanded(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {str(key): _expanded(each, environ) for key, each in value.items()}
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        return environ[match[1]] if match[1] in environ or match[2] is None else match[2]

    return _VARIABLE.sub(found, value)


def _explained(path: Path, fault: Mapping[str, Any]) -> str:
    """The place and what would be right, never the value: it may be a key."""
    place = ".".join(map(str, fault["loc"])) or "the file"
    words = str(fault.get("ctx", {}).get("error") or fault["msg"])
    return f"{path}: {place}: {words[:1].lower()}{words[1:]}"
