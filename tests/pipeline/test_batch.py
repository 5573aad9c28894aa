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
    words = f"#!{sys.executable}\nfrom hepgen.cli import main\nmain()\n"
    return with_command(tmp_path, words) | {"PYTHONPATH": str(REPOSITORY)}


def with_command(folder: Path, words: str) -> dict[str, str]:
    """An environment in which the command hepgen is this script."""
    script = folder / "bin" / "hepgen"
    script.parent.mkdir()
    script.write_text(words)
    script.chmod(0o755)
    return os.environ | {"PATH": f"{script.parent}:{os.environ['PATH']}"}


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


def snakemake(place: Path, *words: str, env: dict[str, str] | None = None) -> dict[str, int]:
    """The jobs that it makes, or with -n would make, by their rule."""
    program = shutil.which("snakemake")
    if program is None:
        pytest.skip("needs snakemake: pip install 'hepgen[batch]'")
    done = subprocess.run(
        [program, "-s", str(REPOSITORY / "workflows" / "Snakefile"), "--cores", "1", *words],
        cwd=place, capture_output=True, text=True, check=True, env=env,
    )  # fmt: skip
    told = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    return {rule: int(jobs) for rule, jobs in told}


def test_the_snakefile_plans_every_step(tmp_path: Path) -> None:
    counts = snakemake(tmp_path, "-n", "--config", "shards=3", f"workflow={TINY}")
    steps = {"simulate": 3, "merge": 1, "train": 1, "infer": 1, "all": 1}
    assert counts.items() >= steps.items()


def test_the_snakefile_makes_again_what_other_data_and_workflows_change(tmp_path: Path) -> None:
    """An old result in the place of a new one would be the worst of all answers."""
    env = with_command(tmp_path, "#!/bin/sh\nexit 0\n")
    for name in ("data.root", "other.root", "a.toml", "b.toml"):
        (tmp_path / name).touch()

    def jobs(*words: str, data: str = "data.root:Events", workflow: str = "a.toml") -> set[str]:
        config = ("--config", "shards=2", f"data={data}", f"workflow={workflow}")
        return set(snakemake(tmp_path, *words, *config, env=env)) - {"all", "total"}

    every = {"simulate", "merge", "train", "infer"}
    assert jobs() == every
    assert jobs("-n") == set()
    assert jobs("-n", data="other.root:Events") == {"infer"}
    assert jobs("-n", workflow="b.toml") == every
    (tmp_path / "data.root").write_text("other events")
    assert jobs("-n") == {"infer"}
    (tmp_path / "a.toml").write_text("name = 'another'")
    assert jobs("-n") == every


def test_a_result_is_left_to_hepgen(tmp_path: Path) -> None:
    """A declared output is removed by Snakemake before the job and after one that fails.

    On a cluster also what is marked to be updated: hepgen refuses to replace another result, and
    it is gone.
    """
    text = (REPOSITORY / "workflows" / "Snakefile").read_text()
    outputs = re.findall(r"output:\n((?:        .*\n)+)", text)
    assert len(outputs) == 4
    assert all(one.strip().startswith('touch(f"{DONE}/') for one in outputs)
    refuses = "#!/bin/sh\n[ $1 = infer ] || exit 0\n[ $3 = data.root ] || exit 2\n"
    env = with_command(tmp_path, refuses)
    for name in ("data.root", "other.root", "a b.toml", "results/result.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    config = ("--config", "shards=1", "workflow=a b.toml")
    snakemake(tmp_path, *config, "data=data.root", env=env)
    with pytest.raises(subprocess.CalledProcessError):
        snakemake(tmp_path, *config, "data=other.root", env=env)
    assert (tmp_path / "results" / "result.json").exists()


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
     ("slurm", 2, ["simulate", "a.toml", "-o", "a.root"], "expected -o NAME.blocks"),
     ("slurm", 2, ["simulate", "a.toml", "-o", "a.root", "--set", "folder=x.blocks"],
      "expected -o NAME.blocks")],
)  # fmt: skip
def test_what_cannot_be_shared_is_refused(
    system: str, shards: int, words: Sequence[str], what: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=what):
        batch(system, shards, tmp_path, words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "what"),
    [(["simulate", "none.toml", "-n", "1e6", "-o", "a.blocks"], "no workflow file none.toml"),
     (["simulate", str(TINY), "-n", "x", "-o", "a.blocks"], "expected a whole number of events"),
     (["simulate", str(TINY), "-n", "1000", "-o", "a.blocks"], "expected at most as many shards"),
     (["simulate", str(TINY), "-n", "1e6", "--sed", "4", "-o", "a.blocks"], "No such option"),
     (["simulate", str(TINY), "--training", "-o", "a.blocks"], "either an output, -o FILE"),
     (["simulate", str(TINY), "-n", "1e6", "--force", "-o", "a.blocks"], "--force: each of the"),
     (["simulate", str(TINY), "-n", "1e6", "--jobs", "8", "-o", "a.blocks"], "--jobs: each of"),
     (["simulate", str(TINY), "-n", "1e6", "-o=a.root"], "expected -o NAME.blocks")],
)  # fmt: skip
def test_what_each_job_would_refuse_is_refused_at_once(
    words: list[str], what: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from hepgen.cli import main; main()", "batch", "--system", "slurm",
         "--shards", "4", "-o", "jobs", "--", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 2
    assert what in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_a_batch_system_cannot_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="with spaces for its logs"):
        batch("slurm", 2, tmp_path / "my jobs", SIMULATION)


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
