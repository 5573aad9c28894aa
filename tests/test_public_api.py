"""The public names: they are there, they say what they are, and they cost nothing unused."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import hepgen

#: Removing or renaming one of these breaks someone's script: it takes a deprecation first.
FROZEN = {
    "Calibration", "Campaign", "Chain", "Check", "DataRequest", "Events", "Feature",
    "FeatureSpace", "HepgenError", "Inference", "InferenceResult", "LikelihoodPosterior", "NLE",
    "NPE", "Normal", "Parameter", "ParameterSet", "Session", "Stage", "Trace", "Uniform", "Workers",
    "infer", "load", "process", "read_observed", "trained", "validate", "write_results",
}  # fmt: skip
HEAVY = ("torch", "sbi", "pyro", "matplotlib", "uproot", "awkward", "numpy", "pydantic", "scipy")

every_name = pytest.mark.parametrize("name", sorted(hepgen.__all__))


def test_the_names_are_frozen() -> None:
    assert set(hepgen.__all__) == FROZEN
    assert len(hepgen.__all__) == len(FROZEN)


@every_name
def test_a_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(hepgen, name)
    assert callable(value)
    words = inspect.getdoc(value)
    assert words
    assert words[0].isupper() or not words[0].isalpha() or words.startswith(("p(", "log "))
    # A dataclass without a docstring is given its signature by Python.
    assert not words.startswith(f"{name}(")


@every_name
def test_a_name_is_the_object_of_its_own_module(name: str) -> None:
    value = getattr(hepgen, name)
    home = importlib.import_module(value.__module__)
    assert value.__module__.startswith("hepgen.")
    assert getattr(home, name) is value


@pytest.mark.parametrize("name", sorted(n for n in hepgen.__all__ if n != "HepgenError"))
def test_public_functions_and_constructors_are_annotated(name: str) -> None:
    signature = inspect.signature(getattr(hepgen, name))
    missing = [p for p in signature.parameters.values() if p.annotation is p.empty]
    assert missing == []


def test_all_names_are_listed_and_no_other_is_known() -> None:
    assert set(hepgen.__all__) <= set(dir(hepgen))
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        _ = hepgen.Sesion


def test_the_version_is_a_version() -> None:
    assert [int(part) for part in hepgen.__version__.split(".")]


@pytest.mark.parametrize(
    "code", ["import hepgen", "import hepgen; dir(hepgen)", "import hepgen.errors, hepgen.cli"]
)
def test_an_import_brings_nothing_heavy(code: str) -> None:
    look = f"import sys; {code}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_simulation_needs_no_inference_no_files_and_no_plots() -> None:
    look = (
        "import sys\n"
        "from hepgen import Campaign, Events, HepgenError, Parameter, process\n"
        "process('zmumu')\n"
        "print([m for m in ('sbi', 'matplotlib', 'uproot', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
