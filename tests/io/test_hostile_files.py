"""Whatever is in a file, reading it ends in events or in a sentence, never in a traceback.

The long form, with limits of time and memory, is ``python -m tests.benchmarks.fuzz``.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hepgen.errors import InputError
from tests.io.hostile_files import READERS, Reader, broken

NEEDS = {"LHE": "pylhe", "HepMC": "pyhepmc"}


def reader(name: str) -> Reader:
    kind = name.partition(",")[0]
    if kind in NEEDS:
        pytest.importorskip(NEEDS[kind])
    return READERS[name]


@pytest.mark.parametrize("name", READERS)
def test_what_is_whole_is_read(name: str, tmp_path: Path) -> None:
    kind = reader(name)
    kind.read(tmp_path, kind.sign(kind.content()))


@pytest.mark.parametrize("name", READERS)
@settings(
    deadline=None, derandomize=True, max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(seed=st.integers(0, 2**32))
def test_what_is_broken_is_read_or_refused_in_a_sentence(name: str, seed: int) -> None:
    kind, chance = reader(name), random.Random(seed)
    content = kind.sign(broken(kind.content(), chance, kind.text))
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        contextlib.suppress(InputError),
    ):
        warnings.simplefilter("ignore")
        kind.read(Path(folder), content)
