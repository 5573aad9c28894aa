"""Job scripts: their jobs together simulate the whole, and what cannot be shared is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from hepgen.errors import FileError, InputError
from hepgen.io.blocks import BlockStore
from hepgen.pipeline.batch import batch
from hepgen.pipeline.blocks import summary
from hepgen.pipeline.prepare import prepare
from hepgen.pipeline.session import Session

REPOSITORY = Path(__file__).parents[2]
TINY = REPOSITORY / "tests" / "pipeline" / "tiny.toml"
SIMULATION = ("simulate", str(TINY), "-n", "2000", "--quiet", "-o", "all.blocks")
SMALL = ("--set", "simulation.block_size=512")


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """An environment in which the command hepgen is that of this checkout."""
    script = tmp_path / "bin" / "hepgen"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom hepgen.cli import main\nmain()\n")
    script.chmod(0o755)
    path = f"{script.parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY)}


@pytest.mark.slow
@pytest.mark.parametrize("system", ["slurm", "htcondor"])
def test_the_jobs_of_a_script_are_the_whole(
    system: str, tmp_path: Path, program: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scripts = batch(system, 2, Path("jobs"), [*SIMULATION, *SMALL])
    for job in (1, 2):
        slurm = {"SLURM_ARRAY_TASK_ID": str(job), "SLURM_CPUS_PER_TASK": "1"}
        argument = [] if system == "slurm" else [str(job - 1)]
        subprocess.run(["bash", str(scripts[0]), *argument], env=program | slurm, check=True)
    facts = summary(BlockStore.open(tmp_path / "all.blocks"))
    assert (facts["blocks"], facts["missingBlocks"], facts["genEventCount"]) == (4, [], 2000)


def test_the_snakefile_plans_every_step(tmp_path: Path) -> None:
    snakemake = shutil.which("snakemake")
    if snakemake is None:
        pytest.skip("needs snakemake: pip install 'hepgen[batch]'")
    done = subprocess.run(
        [snakemake, "-s", str(REPOSITORY / "workflows" / "Snakefile"), "--cores", "1", "-n",
         "--config", "shards=3", f"workflow={TINY}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    steps = {"simulate": "3", "merge": "1", "train": "1", "infer": "1", "all": "1"}
    assert counts.items() >= steps.items()


def test_scripts_name_the_number_of_jobs_and_the_command(tmp_path: Path) -> None:
    (slurm,) = batch("slurm", 70, tmp_path / "a", SIMULATION)
    assert "#SBATCH --array=1-70\n" in slurm.read_text()
    script, condor = batch("htcondor", 70, tmp_path / "b", SIMULATION)
    assert condor.read_text().endswith("queue 70\n")
    for path in (slurm, script):
        assert f"exec hepgen simulate {TINY}" in path.read_text()
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


def test_slurm_signals_the_script_which_hepgen_replaces(tmp_path: Path) -> None:
    """Without ``B:`` only steps that srun starts are signalled, and there are none."""
    (script,) = batch("slurm", 2, tmp_path, SIMULATION)
    lines = script.read_text().splitlines()
    assert "#SBATCH --signal=B:TERM@60" in lines
    assert lines[-1].startswith("exec hepgen simulate")


@pytest.mark.parametrize(
    ("system", "shards", "words", "what"),
    [("slrm", 2, SIMULATION, "did you mean 'slurm'"), ("slurm", 0, SIMULATION, "--shards 0"),
     ("slurm", 2, ["train", "a.toml"], "expected the words of a simulation"),
     ("slurm", 2, [], "nothing after --"),
     ("slurm", 2, [*SIMULATION, "--shard", "1/2"], "leave it out"),
     ("slurm", 2, ["simulate", "a.toml", "-o", "a.root"], "expected -o NAME.blocks")],
)  # fmt: skip
def test_what_cannot_be_shared_is_refused(
    system: str, shards: int, words: Sequence[str], what: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=what):
        batch(system, shards, tmp_path, words)
    assert not list(tmp_path.iterdir())


def test_scripts_are_not_written_over(tmp_path: Path) -> None:
    batch("slurm", 2, tmp_path, SIMULATION)
    with pytest.raises(FileError, match="exists"):
        batch("slurm", 2, tmp_path, SIMULATION)


def test_words_with_spaces_stay_words(tmp_path: Path) -> None:
    words = ["simulate", "a b.toml", "--set", "simulation.set_sizes=[1, 2]", "--training"]
    (script,) = batch("slurm", 2, tmp_path, words)
    assert "'a b.toml' --set 'simulation.set_sizes=[1, 2]' --training" in script.read_text()


def test_shards_of_the_training_are_the_training(tmp_path: Path) -> None:
    folders = {}
    for name, shards in (("whole", [None]), ("parts", ["2/2", "1/2"])):
        session = Session.open(TINY, [f"folder={str(tmp_path / name)!r}"])
        for shard in shards:
            folders[name] = prepare(session, shard)
    kinds = {Path(facts["path"]).name.partition("-")[0] for facts in folders["whole"]}
    assert kinds == {"events", "sets"}
    for one, other in zip(folders["whole"], folders["parts"], strict=True):
        assert one["missingBlocks"] == other["missingBlocks"] == []
        for path in Path(one["path"]).glob("block-*"):
            assert path.read_bytes() == (Path(other["path"]) / path.name).read_bytes()
