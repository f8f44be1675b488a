"""What people read is true: snippets load, and keys, metrics and words stand in the documents and in the code alike."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import pytest
import typer
import yaml
from prometheus_client.exposition import generate_latest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bridge.audio.g711 import Law
from bridge.cli import app
from bridge.config import PROVIDERS, Agent, Config
from bridge.legs.dialog import _CAUSES as CAUSES
from bridge.metrics import Meters
from bridge.providers import COMPATIBLE, SERVICES
from bridge.realtime.history import NOTHING
from bridge.realtime.options import SessionOptions
from bridge.records import LEG_REFUSALS, EndReason, Refusal
from bridge.settings import load
from bridge.sip.reasons import WORDS
from bridge.transfer.handover import JOINED, TRANSFERRED

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
README, CONFIGURATION, PBX, PROVIDER_PAGE, SCRIPTS, SIGNALLING, TOOLS, WATCHING = (
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("configuration", "pbx", "providers", "agent-scripts", "signalling", "tools", "watching")
    ),
)
DOCUMENTS = (README, *sorted((ROOT / "docs").glob("*.md")))


# Reading documents


def tables(text: str) -> list[list[list[str]]]:
    """Each table as rows of cells, the head included."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    rows = ([[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()] for block in blocks)
    return [[row for row in table if set("".join(row)) - set("- |")] for table in rows]


def table_after(path: Path, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    text = path.read_text()
    return tables(text[text.index(f"## {heading}\n") :])[0][1:]


def words(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def first_words(path: Path, heading: str) -> list[str]:
    return list(chain.from_iterable(words(row[0]) for row in table_after(path, heading)))


# Snippets

HINT = re.compile(r"^[;# ] {4,}((?:sip|trunks): \{.*\})$", re.MULTILINE)
"""A section of ours in a comment of a configuration of somebody else."""


def snippets() -> Iterator[tuple[str, str]]:
    for path in DOCUMENTS:
        if path == SCRIPTS:  # its snippets are scripts of the built-in agent
            continue
        for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)):
            yield f"{path.name}-{number}", text
    for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()):
        if document["kind"] == "ConfigMap":
            yield "kubernetes.yaml", document["data"]["sipbridge.yaml"]
    for path in sorted(file for file in DEPLOY.rglob("*") if file.is_file()):
        for number, text in enumerate(HINT.findall(path.read_text())):
            yield f"{path.name}-{number}", text


def filled_in(text: str, folder: Path) -> str:
    """A snippet with what its reader has to put in: addresses, files of TLS, and folders, that are there."""
    pem = folder / "any.pem"
    pem.write_text("")
    text = re.sub(r"/etc/sipbridge/tls/[\w.]+|\$\{CREDENTIALS_DIRECTORY\}/[\w.]+", str(pem), text)
    text = re.sub(r"(certificate|key|ca): \.\.\.", rf"\1: {pem}", text)
    text = re.sub(r"/var/lib/sipbridge/\w+", str(folder), text)
    return re.sub(r"<[^<>]+>", "192.0.2.5", text)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in snippets()])
def test_every_snippet_of_configuration_loads(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sipbridge.yaml"
    path.write_text(filled_in(text, tmp_path))
    load(path, {name: "set to something" for name in re.findall(r"\$\{(\w+)\}", text)})


# Keys


class Key(NamedTuple):
    """A key of the configuration: its fields (several where a section has several forms), and whether it is a leaf."""

    fields: list[FieldInfo]
    is_leaf: bool


def keys(model: type[BaseModel] = Config, prefix: str = "") -> dict[str, Key]:
    """All keys below a model, by their dotted names with placeholders."""
    found: dict[str, Key] = {}
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        below = list(sections(field.annotation))
        if not is_part(field):
            found[key] = Key([*found.get(key, Key([], True)).fields, field], not below)
        for section in below:
            for deeper, entry in keys(section, f"{key}{placeholder(key, field)}.").items():
                known = found.get(deeper, Key([], entry.is_leaf))
                found[deeper] = Key([*known.fields, *entry.fields], entry.is_leaf)
    return found


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from sections(argument)


def is_part(field: FieldInfo) -> bool:
    """Whether a key has no value of its own: a section that is always there, or sections by names or in a list."""
    return not has_value(field.annotation) and not field.alias


def has_value(annotation: Any) -> bool:
    """Whether something else than a section, or nothing at all, can be written."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return False
    origin, arguments = get_origin(annotation), [each for each in get_args(annotation) if each is not ...]
    if origin is dict or hasattr(annotation, "__metadata__"):
        return has_value(arguments[1 if origin is dict else 0])
    return not arguments or any(has_value(each) for each in arguments)


def placeholder(key: str, field: FieldInfo) -> str:
    if get_origin(field.annotation) is dict:
        return ".<user>" if key.endswith("users") else ".<name>"
    return "[]" if key == "routes" or key.endswith(".tools") else ""


KEYS = keys()


def documented() -> dict[str, list[str]]:
    """Key → default and what is allowed, as the document says it."""
    rows = [row for table in tables(CONFIGURATION.read_text()) if table[0][0] == "key" for row in table[1:]]
    return {words(row[0])[0]: row[1:3] for row in rows}


def test_every_key_is_documented_and_no_other() -> None:
    said = set(documented())
    assert {name for name, key in KEYS.items() if key.is_leaf} - said == set()
    assert said - set(KEYS) == set()


def as_written(value: Any) -> Any:
    """A default as YAML gives it."""
    if isinstance(value, BaseModel):
        return getattr(value, "type", None)
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", sorted(documented()))
def test_defaults_and_ranges_are_as_documented(name: str) -> None:
    default, allowed = documented()[name]
    fields = KEYS[name].fields
    if default == "must be given":
        assert any(field.is_required() for field in fields)
    else:
        bare = default.strip("`")
        # A bare `off` is what a section makes of YAML's false.
        expected = None if bare == "-" else bare if bare == "off" else yaml.safe_load(bare)
        assert expected in [as_written(field.get_default(call_default_factory=True)) for field in fields]
    bounds = {bound for field in fields for bound in bounds_of(field.metadata, field.annotation)}
    assert bounds <= {float(number) for number in re.findall(r"\d+(?:\.\d+)?", allowed)}


def bounds_of(metadata: Iterable[Any], annotation: Any) -> Iterator[float]:
    """The limits of a number or of a text's length, also inside of `... | None`."""
    for limit in metadata:
        if isinstance(limit, FieldInfo):
            yield from bounds_of(limit.metadata, None)
        named = (getattr(limit, kind, None) for kind in ("ge", "gt", "le", "lt", "max_length"))
        yield from (bound for bound in named if bound is not None)
    for inner in get_args(annotation):
        yield from bounds_of(getattr(inner, "__metadata__", ()), inner)


@pytest.mark.parametrize("name", sorted(name for name in documented() if not re.search(r"[<\[]", name)))
def test_every_key_has_the_name_in_the_environment_that_the_rule_gives(name: str) -> None:
    default = documented()[name][0]
    if default != "-":
        variable = f"BRIDGE_{name.upper().replace('.', '__')}"
        assert load(None, {variable: default.strip("`")}) == load(None, {})


# Words


class Nothing:
    """A service without calls."""

    def calls_active(self) -> int:
        return 0

    calls_limit = rtp_ports_free = sip_connections = core_taken = calls_active

    def is_draining(self) -> bool:
        return False

    is_overloaded = is_draining

    def registrations(self) -> list[tuple[str, bool]]:
        return [("pbx/600", True)]

    def pacer_lateness(self) -> tuple[list[tuple[float, int]], float]:
        return [(float("inf"), 0)], 0.0


def metrics() -> set[str]:
    """The names of all metrics, as Prometheus reads them."""
    text = generate_latest(Meters(Nothing(), "0").registry).decode()
    named = re.findall(r"^# TYPE (sipbridge_\w+) ", text, re.MULTILINE)
    return {name for name in named if not name.endswith("_created")}


def test_every_metric_is_documented_and_no_other() -> None:
    assert sorted(first_words(WATCHING, "Metrics")) == sorted(metrics())


@pytest.mark.parametrize("path", [*DOCUMENTS, DEPLOY / "alerts.yml"], ids=lambda path: path.name)
def test_no_metric_is_named_that_is_not_there(path: Path) -> None:
    named = set(re.findall(r"\bsipbridge_\w+(?=[\[{\s`)])", path.read_text()))
    known = metrics() | {f"{name}_bucket" for name in metrics()}
    assert named - known == set()


def test_every_end_reason_is_documented_and_no_other() -> None:
    reasons = sorted(reason.value for reason in EndReason)
    told = table_after(SIGNALLING, "How a call ends")
    assert sorted(words(row[0])[0] for row in told) == reasons
    by_the_dialog = ("ack_timeout", "signalling_lost")  # it has said BYE before the call could
    caused = {name: row[1] for row in told if row[1] and (name := words(row[0])[0]) not in by_the_dialog}
    assert caused == {name: str(CAUSES.get(EndReason(name), 200)) for name in caused}
    rows = [row for table in tables(README.read_text()) if table[0][0] == "reason" for row in table[1:]]
    assert sorted(chain.from_iterable(words(row[0]) for row in rows)) == reasons


def test_every_refusal_is_documented_with_what_it_answers_and_what_to_do() -> None:
    expected = {
        refusal.word: (str(refusal.status or "none"), dict(refusal.headers).get("Retry-After", ""))
        for refusal in Refusal
    }
    rows = {words(row[0])[0]: (row[1], row[2]) for row in table_after(SIGNALLING, "How a call is refused")}
    assert set(rows) == {*expected, *LEG_REFUSALS}
    assert {word: rows[word] for word in expected} == expected
    assert sorted(first_words(PBX, "When a call is refused")) == sorted(rows)


def test_every_outcome_of_a_transfer_is_documented() -> None:
    counted = "".join(path.read_text() for path in (ROOT / "bridge").rglob("*.py"))
    told = set(re.findall(r"(?:_?note_transfer|_done|Outcome)\(\"(\w+)\"", counted))
    assert sorted(first_words(SIGNALLING, "Transfers")) == sorted({*WORDS, TRANSFERRED, JOINED, *told})


def log_lines() -> set[str]:
    """The events in all tables of log lines."""
    text = WATCHING.read_text()
    rows = chain.from_iterable(tables(text[text.index("## Log lines\n") :]))
    return set(chain.from_iterable(words(row[0]) for row in rows))


def test_no_log_line_is_documented_that_is_never_written() -> None:
    source = "".join(path.read_text() for path in (ROOT / "bridge").rglob("*.py"))
    written = set(re.findall(r"\"([a-z_]+\.[a-z_]+)\"", source)) | {"transcript"}
    shown = {name for name in log_lines() if not name.startswith("registration.")}
    assert shown - written == set()


def test_every_warning_and_error_of_the_log_is_documented() -> None:
    source = "".join(path.read_text() for path in (ROOT / "bridge").rglob("*.py"))
    written = set(re.findall(r"log\.(?:warning|error|exception)\(\s*\"([a-z_]+\.[a-z_]+)\"", source))
    assert written and written - log_lines() == set()


def test_every_outcome_of_a_tool_is_documented() -> None:
    source = "".join((ROOT / "bridge" / name).read_text() for name in ("call_tools.py", "call_webhooks.py"))
    replies = (ROOT / "bridge" / "tools" / "reply.py").read_text()
    counted = {*re.findall(r"_note\(\"(\w+)\"", source), *re.findall(r"Reply\(\s*\"(\w+)\"", source + replies)}
    assert counted and counted - set(first_words(TOOLS, "How a use ends")) == set()


def test_every_command_is_in_the_readme() -> None:
    rows = [row for table in tables(README.read_text()) if table[0][0] == "command" for row in table[1:]]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(words(row[0])[0].split()[1] for row in rows) == sorted(commands)


# Providers


def test_the_table_of_providers_is_true() -> None:
    rows = table_after(PROVIDER_PAGE, "What each can do")
    assert [words(row[0])[0] for row in rows] == [*PROVIDERS, "ws://"]
    for row in rows:
        name = words(row[0])[0]
        service = SERVICES.get(name, COMPATIBLE)
        agent = Agent.model_construct(provider=name)
        protocol = service.maker(agent)(SessionOptions(service.linear), NOTHING)
        dialect = getattr(protocol, "dialect", None)  # of servers compatible with OpenAI's
        laws = [law.name.lower() for law in Law if law in service.laws and (dialect is None or dialect.g711)]
        heard = dialect.truncate if dialect is not None and protocol.abilities.told_what_was_heard else "no"
        assert row[1] == (f"`{service.key_variable}`" if service.key_variable else row[1]), name
        assert bool(words(row[1])) == (bool(service.key_variable) or name == "ws://"), name
        assert words(row[2]) == ([service.model] if service.model else []), name
        assert words(row[3]) == laws, name
        assert words(row[4]) == [heard], name
        assert (row[5] == "as configured") == (not protocol.abilities.decides_turns), name


@pytest.mark.parametrize("row", table_after(PROVIDER_PAGE, "What each can do"), ids=lambda row: words(row[0])[0])
def test_a_provider_takes_mcp_servers_where_the_table_says_so(row: list[str]) -> None:
    provider = "wss://a.example" if row[0].startswith("a ") else words(row[0])[0]
    url = None if provider in ("builtin", "wss://a.example") else "wss://a.example"
    tool = {"type": "mcp", "server_label": "shop", "server_url": "https://mcp.example"}
    if row[6] == "no":
        with pytest.raises(ValidationError, match="takes no tools of `type: mcp`"):
            Agent(provider=provider, url=url, model="m", tools=[tool])  # type: ignore[arg-type]
    else:
        Agent(provider=provider, url=url, model="m", tools=[tool])  # type: ignore[arg-type]


# Links


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", path.read_text()):
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


# Snippets for others


def run(*command: str) -> str:
    """Run a checker of somebody else; what it said when it does not like what it read."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def test_prometheus_takes_rules_and_configuration() -> None:
    assert not run("promtool", "check", "config", "prometheus.yml")


def test_kamailio_takes_its_configuration(tmp_path: Path) -> None:
    assert not run("kamailio", "-c", "-f", str(DEPLOY / "kamailio" / "kamailio.cfg"))
