"""A folder that the service writes into."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _writable(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError("there is no such folder: create it, owned by the user that the service runs as")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError("the service cannot write here: give the folder to the user that it runs as")
    return folder


WritableFolder = Annotated[Path, AfterValidator(_writable)]
