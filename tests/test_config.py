"""The workflow file: what is wrong is said by name, what is right reads back the same."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from hepgen import config
from hepgen.config import Workflow, load, load_combination, parse, to_toml
from hepgen.errors import WorkflowError

WORKFLOWS = sorted((Path(__file__).parents[1] / "workflows").glob("*.toml"))

#: The least that is a workflow.
LEAST: dict[str, Any] = {
    "name": "least",
    "process": "zmumu",
    "parameters": {"m_z": {"role": "interest", "prior": {"uniform": [88.0, 94.0]}}},
    "features": [{"name": "Dimuon_mass"}],
}
#: Where each table of the file is, by its model.
TABLES: dict[str, type[BaseModel]] = {
    "": Workflow,
    "parameters.m_z": config.ParameterEntry,
    "features.0": config.FeatureEntry,
    "data": config.DataEntry,
    "data.layouts.0": config.LayoutEntry,
    "samples.0": config.SampleEntry,
    "variations.0": config.VariationEntry,
    "simulation": config.SimulationEntry,
    "nle": config.LikelihoodEntry,
    "npe": config.PosteriorEntry,
    "fmpe": config.FieldEntry,
    "npse": config.FieldEntry,
    "nre": config.RatioEntry,
    "classifier": config.ReferenceEntry,
    "sally": config.ScoreEntry,
    "rascal": config.JointRatioEntry,
    "alices": config.JointRatioEntry,
    "scandal": config.ScoreDensityEntry,
    "inference": config.InferenceEntry,
    "statements": config.StatementsEntry,
    "statements.scan": config.ScanEntry,
    "exchange": config.ExchangeEntry,
    "calibration": config.CalibrationEntry,
    "validation": config.ValidationEntry,
    "validation.statistics.0": config.StatisticEntry,
    "checks": config.ChecksEntry,
    "augment": config.AugmentEntry,
    "stages.0": config.StageEntry,
    "surrogate": config.SurrogateEntry,
    "surrogate.variables.pt": config.VariableEntry,
}

COMBINED: dict[str, type[config.Section]] = {
    "": config.Combination, "channels.0": config.ChannelEntry, "inference": config.SamplerEntry
}  # fmt: skip
"""Those of the file of a combination; its other tables are those of a workflow."""


KEYS = [
    (table, field.alias or name)
    for table, model in TABLES.items()
    for name, field in model.model_fields.items()
]

every_key = pytest.mark.parametrize(("table", "key"), KEYS)


def changed(table: str, key: str, value: Any) -> dict[str, Any]:
    """The least workflow with ``value`` at ``table.key``."""
    content = tomllib.loads(tomli_w.dumps(LEAST))
    place: Any = content
    for part in table.split(".") if table else []:
        if part == "layouts":
            place = place.setdefault(part, [{"name": "a"}])
        elif part == "statistics":
            place = place.setdefault(part, [{"kind": "mean", "columns": ["a"]}])
        elif part == "samples":
            place = place.setdefault(part, [{"name": "a"}])
        elif part == "variations":
            place = place.setdefault(part, [{"name": "a", "rate": [0.9, 1.1]}])
        elif part == "stages":
            place = place.setdefault(part, [{"import": "a:B"}])
        else:
            place = place[int(part)] if part.isdigit() else place.setdefault(part, {})
    place[key] = value
    return content


@pytest.fixture
def least(tmp_path: Path) -> Path:
    path = tmp_path / "least.toml"
    path.write_text(tomli_w.dumps({k: v for k, v in LEAST.items() if k != "name"}))
    return path


# --- the tables -----------------------------------------------------------------------


def test_every_table_of_the_file_is_tested_here() -> None:
    models = {m for m in vars(config).values() if isinstance(m, type) and issubclass(m, BaseModel)}
    own = set(TABLES.values()) | set(COMBINED.values())
    shared = {config.EstimatorEntry, config.TrainingEntry, config.AmortisedEntry}
    assert models - {BaseModel, config.Section} - shared == own


@pytest.mark.parametrize(
    ("table", "key"),
    [(table, f.alias or n) for table, m in COMBINED.items() for n, f in m.model_fields.items()],
)
def test_keys_of_a_combination_are_known_and_no_others(
    tmp_path: Path, table: str, key: str
) -> None:
    channel = {"name": "a", "workflow": "a.toml"}
    content: dict[str, Any] = {"channels": [channel], "inference": {}}
    place: Any = {"": content, "channels.0": channel, "inference": content["inference"]}[table]
    place[f"{key}x"] = 1
    path = tmp_path / "both.toml"
    path.write_text(tomli_w.dumps(content))
    name = f"{table}.{key}x".removeprefix(".")
    with pytest.raises(WorkflowError, match=rf"unknown key '{name}'; did you mean .*'{key}'"):
        load_combination(path)


@every_key
def test_a_key_that_is_misspelt_is_answered_with_the_right_one(table: str, key: str) -> None:
    place = f"{table}.{key}x".removeprefix(".")
    with pytest.raises(WorkflowError, match=rf"unknown key '{place}'; did you mean .*'{key}'"):
        parse(changed(table, f"{key}x", 1))


@every_key
def test_a_value_of_another_type_is_refused_by_name(table: str, key: str) -> None:
    # No entry of a workflow is a date.
    date = tomllib.loads("a = 2012-07-04")["a"]
    with pytest.raises(WorkflowError, match=f"{table}.{key}".removeprefix(".")):
        parse(changed(table, key, date))


@pytest.mark.parametrize("key", ["process", "name"])
def test_a_key_that_is_missing_is_named(key: str) -> None:
    with pytest.raises(WorkflowError, match=f"missing key '{key}'"):
        parse({k: v for k, v in LEAST.items() if k != key})


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("simulation", "events", 0),
        ("simulation", "events", 1.5),
        ("simulation", "events", "many"),
        ("simulation", "events_per_point", -1),
        ("simulation", "block_size", 0),
        ("simulation", "set_sizes", [0, 5]),
        ("simulation", "set_sizes", [6, 5]),
        ("simulation", "set_sizes", [5]),
        ("inference", "method", "abc"),
        ("inference", "chains", 1),
        ("nle", "epochs", 0),
        ("npe", "components", -2),
        ("calibration", "sets", 3),
        ("parameters.m_z", "role", "main"),
        ("parameters.m_z", "reference", "PDG"),
        ("data.layouts.0", "columns", {"Muon_pt": 3}),
        ("data.layouts.0", "one_per", "Run"),
        ("augment", "parameters", []),
        ("", "control", [1]),
        ("", "name", "../../outside"),
        ("", "name", "/tmp/outside"),
        ("", "name", "a/b"),
        ("", "name", ".."),
        ("", "name", "."),
        ("", "name", ""),
        ("", "name", "a\nb"),
        ("", "name", "a\\b"),
        ("", "folder", "a\0b"),
        ("surrogate", "replace", []),
        ("surrogate", "events", 0),
        ("surrogate", "variables", {"pt": {"ratio": "a", "difference": "b"}}),
        ("stages.0", "replace", 3),
        ("stages.0", "replace", []),
        ("stages.0", "options", ["a"]),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(table: str, key: str, value: Any) -> None:
    with pytest.raises(WorkflowError, match=f"{table}.{key}".removeprefix(".")):
        parse(changed(table, key, value))


@pytest.mark.parametrize(
    "folder", ["/tmp/outside", "../outside", "runs/../../outside", "..", "/", "a/..//b/../../c"]
)
def test_a_file_writes_nowhere_else_than_here_unless_it_is_asked_for(
    least: Path, folder: str
) -> None:
    """The file may be somebody else's; an override is the user's own."""
    text = least.read_text()
    least.write_text(f"folder = {folder!r}\n{text}")
    with pytest.raises(WorkflowError, match=rf"least\.toml: folder = '{folder}' .*--set folder="):
        load(least)
    with pytest.raises(WorkflowError, match="leads out of the current folder"):
        load(least, ["simulation.seed=3", "name='folder='"])
    assert load(least, [f"folder={folder}"]).folder == folder
    assert load(least, [" folder = 'mine'"]).folder == "mine"
    least.write_text(f"folder = 'runs/a..b/mine'\n{text}")
    assert load(least).folder == "runs/a..b/mine"


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        ({"unifrom": [88, 94]}, "expected one of uniform, normal"),
        ({}, "expected one of uniform, normal"),
        ({"uniform": [0, 1], "normal": [0, 1]}, "expected one of uniform, normal"),
        ({"uniform": [94, 88]}, "expected finite low < high"),
        ({"uniform": [88]}, "expected two numbers"),
        ({"uniform": [1, 2, 3]}, "expected two numbers"),
        ({"normal": [0, 0]}, "std > 0"),
        ({"normal": [0, float("inf")]}, "std > 0"),
        ({"uniform": ["a", "b"]}, "valid number"),
        ([88, 94], "valid dictionary"),
    ],
)
def test_a_prior_that_is_none_is_refused_by_name(prior: Any, words: str) -> None:
    with pytest.raises(WorkflowError, match=rf"parameters\.m_z\.prior.*{words}"):
        parse(changed("parameters.m_z", "prior", prior))


def test_several_problems_are_told_at_once() -> None:
    content = changed("", "processs", 1) | {"simulation": {"seed": "a", "evnts": 1}}
    with pytest.raises(WorkflowError) as caught:
        parse(content, "a.toml")
    message = str(caught.value)
    assert message.startswith("a.toml: ")
    assert all(word in message for word in ("'processs'", "simulation.seed", "'events'"))
    assert "\n" not in message


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"m_z": {"role": "interest"}},
        {"m_z": {"prior": {"uniform": [88.0, 94.0]}}},
        {"m_z": {"role": "nuisance", "prior": {"uniform": [88.0, 94.0]}}},
    ],
)
def test_there_is_something_to_measure(parameters: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError, match="nothing to measure"):
        parse(LEAST | {"parameters": parameters})


def test_features_and_layouts_have_names_of_their_own() -> None:
    with pytest.raises(WorkflowError, match="feature 'a' is there more than once"):
        parse(LEAST | {"features": [{"name": "a"}, {"name": "a", "low": 0.0}]})
    with pytest.raises(WorkflowError, match="layout 'a' is there more than once"):
        parse(LEAST | {"data": {"layouts": [{"name": "a"}, {"name": "a"}]}})


def test_a_workflow_does_not_change_after_reading() -> None:
    workflow = parse(LEAST)
    with pytest.raises(ValueError, match="frozen"):
        workflow.name = "other"


# --- files ----------------------------------------------------------------------------


def test_a_file_is_named_after_itself(least: Path) -> None:
    assert load(least).name == "least"
    least.write_text('name = "other"\n' + least.read_text())
    assert load(least).name == "other"


def test_a_file_that_is_not_there_is_answered_with_the_nearest(least: Path) -> None:
    with pytest.raises(WorkflowError, match=r"no workflow file .*'least\.toml'"):
        load(least.with_name("laest.toml"))
    with pytest.raises(WorkflowError, match="no workflow file"):
        load(least.parent / "nowhere" / "least.toml")
    with pytest.raises(WorkflowError, match="no workflow file"):
        load(least.parent)


@pytest.mark.parametrize("content", [b"process = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_said_so(least: Path, content: bytes) -> None:
    least.write_bytes(content)
    with pytest.raises(WorkflowError, match=r"least\.toml is not valid TOML"):
        load(least)


# --- overrides ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("simulation.seed=7", "simulation.seed", 7),
        ("simulation.events=1e6", "simulation.events", 1_000_000),
        ("simulation.set_sizes=[8, 16]", "simulation.set_sizes", (8, 16)),
        ("inference.method=npe", "inference.method", "npe"),
        ('inference.method="npe"', "inference.method", "npe"),
        ("title=a = b", "title", "a = b"),
        ("title=", "title", ""),
        (" simulation.seed = 7", "simulation.seed", 7),
        ("chain.mass=[70, 110]", "chain", {"mass": [70, 110]}),
        ("parameters.m_z.prior.uniform=[90, 92]", "prior", {"uniform": [90.0, 92.0]}),
        ("parameters.m_z.prior={normal=[91, 1]}", "prior", {"normal": [91.0, 1.0]}),
        ('features=[{name="Dimuon_y"}]', "features", [config.FeatureEntry(name="Dimuon_y")]),
    ],
)
def test_an_entry_is_overridden(least: Path, override: str, place: str, value: Any) -> None:
    found: Any = load(least, [override])
    if place == "prior":
        found, place = found.parameters["m_z"], "prior"
    for part in place.split("."):
        found = getattr(found, part)
    assert found == value


def test_the_last_override_wins_and_the_rest_stays(least: Path) -> None:
    workflow = load(least, ["simulation.seed=7", "checks.r_hat=1.1", "simulation.seed=8"])
    assert workflow.simulation.seed == 8
    assert workflow.checks.r_hat == 1.1
    assert workflow.model_copy(update={"simulation": load(least).simulation,
                                       "checks": load(least).checks}) == load(least)  # fmt: skip


def test_what_is_known_is_said_once(least: Path) -> None:
    with pytest.raises(WorkflowError) as refused:
        load(least, ["colour=red", "weather=fine", "simulation.sed=7"])
    words = str(refused.value)
    assert "unknown key 'colour'; unknown key 'weather'; known: " in words
    assert words.count("known: ") == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("simulation.seed", "expected key=value"),
        ("=7", "expected key=value"),
        ("process.name=7", "'process' is not a table"),
        ("features.low=7", "'features' is not a table"),
        ("simulation.sed=7", "unknown key 'simulation.sed'; did you mean 'seed'"),
        ("simulation.seed=seven", "simulation.seed = 'seven'"),
        ("colour=red", "unknown key 'colour'"),
        ("parameters.m_z.prior.normal=[91, 1]", "expected one of uniform, normal"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(least: Path, override: str, words: str) -> None:
    with pytest.raises(WorkflowError, match=words):
        load(least, [override])


# --- there and back -------------------------------------------------------------------

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=8)
file_names = names.filter(lambda name: name not in (".", "..") and not set(name) & {"/", "\\"})
values = st.floats(allow_nan=False)
optional = st.none() | values
counts = st.integers(1, 2**62)
prior_entries = st.one_of(
    st.builds(lambda a, b: {"uniform": [a, a + b]}, st.floats(-1e3, 1e3), st.floats(0.1, 10)),
    st.builds(lambda a, b: {"normal": [a, b]}, st.floats(-1e3, 1e3), st.floats(0.1, 10)),
)
expressions = st.one_of(names, st.lists(names, min_size=1, max_size=3))
options = st.dictionaries(
    names, st.one_of(st.booleans(), counts, values, names, st.lists(values)), max_size=3
)


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    parameter = st.fixed_dictionaries(
        {"prior": prior_entries, "role": st.sampled_from(["interest", "nuisance"])},
        optional={"default": values, "label": names, "reference": values},
    )
    layout: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {"name": names, "columns": st.dictionaries(names, expressions, max_size=3)},
        optional={"tree": names, "cut": names, "weight": names, "one_per": st.lists(names)},
    )
    feature: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {"name": names}, optional={"low": values, "high": values}
    )
    stage: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {"import": names},
        optional={"replace": names | st.lists(names, min_size=1), "options": options},
    )
    parameters = draw(st.dictionaries(names, parameter, max_size=3))
    return {
        "name": draw(file_names),
        "title": draw(names),
        "process": draw(names),
        "chain": draw(options),
        "stages": draw(st.lists(stage, max_size=2)),
        "parameters": parameters | {"m_z": {"role": "interest", "prior": draw(prior_entries)}},
        "features": draw(st.lists(feature, min_size=1, max_size=3, unique_by=lambda f: f["name"])),
        "data": {"layouts": draw(st.lists(layout, max_size=2, unique_by=lambda f: f["name"]))},
        "simulation": {"seed": draw(st.integers(-(2**62), 2**62)), "events": draw(counts)},
        "checks": {"coverage": draw(values), "r_hat": draw(values)},
    }


@settings(deadline=None, derandomize=True)
@given(workflows())
def test_what_is_written_reads_back_the_same(content: dict[str, Any]) -> None:
    workflow = parse(content)
    again = tomllib.loads(to_toml(workflow))
    assert parse(again) == workflow
    assert to_toml(parse(again)) == to_toml(workflow)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_of_this_repository_reads_back_the_same(path: Path, tmp_path: Path) -> None:
    workflow = load(path)
    copy = tmp_path / "copy.toml"
    copy.write_text(to_toml(workflow), encoding="utf-8")
    assert load(copy) == workflow


def test_there_are_workflows() -> None:
    assert WORKFLOWS
