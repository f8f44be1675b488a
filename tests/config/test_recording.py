"""Where recordings go: a folder that cannot be used stops the start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from bridge.config.recording import Recording


def test_nothing_is_recorded_unless_a_folder_is_named() -> None:
    assert Recording().folder is None


def test_a_folder_that_is_there_is_taken(tmp_path: Path) -> None:
    assert Recording.model_validate({"folder": str(tmp_path)}).folder == tmp_path


def test_a_folder_that_is_not_there_or_no_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path / "none", file):
        with pytest.raises(ValidationError, match="no such folder: create it"):
            Recording.model_validate({"folder": path})


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write anywhere
    with pytest.raises(ValidationError, match="cannot write here: give the folder"):
        Recording.model_validate({"folder": tmp_path})


@pytest.mark.parametrize("limits", [{"max_minutes": 0}, {"max_megabytes": 0}, {"max_megabytes": 4295}])
def test_limits_have_ranges(limits: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Recording.model_validate(limits)
