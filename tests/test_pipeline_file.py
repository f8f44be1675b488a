"""A pipeline in a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.pipeline_file import load_pipeline
from bridge.settings import ConfigError

GOOD = "brain: {url: 'http://127.0.0.1:9/v1', model: m, key: '${KEY:-}'}\nvoice: {url: '${URL}', voice: anna}\n"


def test_a_file_with_variables_of_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(GOOD)
    made = load_pipeline(path, {"KEY": "sk-hush", "URL": "http://a/v1"}).revealed()
    assert (made["brain"]["key"], made["voice"]["url"]) == ("sk-hush", "http://a/v1")
    assert load_pipeline(path, {"URL": "http://a/v1"}).revealed()["brain"]["key"] == ""
    path.write_text("")
    assert load_pipeline(path, {}).brain is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD, "${URL} is not set"),
        ("brain: {url: http://a/v1, key: sk-hush}", "brain.model: "),
        ("brain: {url: sk-hush, model: m}", "brain.url: write it as http://HOST:PORT/v1"),
        ("brains: {}", "brains: "),
        ("- 7", "the file: "),
        ("{", "not YAML"),
    ],
)
def test_a_fault_is_named_by_its_place_and_no_value(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as wrong:
        load_pipeline(path, {})
    assert str(wrong.value).startswith(f"{path}: ")
    assert words in str(wrong.value)
    assert "sk-hush" not in str(wrong.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_pipeline(tmp_path / "none.yaml", {})
