"""What the pipeline leaves behind of a judgement."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from hepgen.judgement import SurrogateJudgement
from hepgen.pipeline import judge as module
from hepgen.results import TrainingCurve
from hepgen.surrogates.surrogate import Surrogate
from tests.plots.test_surrogates import CLOSURE, FEATURE, JUDGED


def test_a_judgement_leaves_its_numbers_and_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = SurrogateJudgement("flow", "exact", 600, (JUDGED,), (FEATURE,))
    monkeypatch.setattr(module, "judge", lambda *_, **__: made)
    curve = TrainingCurve((2.0,), (2.0,), (1e-3,), 0, 12.0, "done")
    surrogate = Mock(spec=Surrogate)
    surrogate.curve, surrogate.model = curve, None  # no auto-encoder
    nothing = torch.zeros(0, 1)
    found, checks = module.judge_surrogate(
        surrogate, nothing, nothing, tmp_path / "j", closure=[CLOSURE]
    )

    assert [check.passed for check in checks] == [False, True, True, True, True]
    assert [check.name for check in checks[3:]] == [
        "surrogate flow: closure of m_z, shift", "surrogate flow: closure of m_z, width"
    ]  # fmt: skip
    assert checks[3].value == pytest.approx(np.sqrt(np.mean(CLOSURE.shifts**2)))
    read = json.loads((tmp_path / "j" / "judgement.json").read_text())
    assert SurrogateJudgement.from_dict(read).closure[0].name == "m_z"
    assert "1 of 5 checks failed" in (tmp_path / "j" / "report.html").read_text()
    assert found.closure == (CLOSURE,)
