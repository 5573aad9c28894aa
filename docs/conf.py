"""Sphinx configuration. Code in the pages is executed when they are built.

All pages run in one working folder, with one trained analysis: the tutorial is built first
and trains it, the other pages find it up to date.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from sphinx.ext.napoleon.docstring import GoogleDocstring

import hepgen

project = "hepgen"
release = metadata.version("hepgen")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
html_theme = "furo"
html_show_copyright = False
html_title = "hepgen"
html_static_path = ["_static"]
html_css_files = ["hepgen.css"]
html_theme_options = {"navigation_with_keys": True}
exclude_patterns = ["_build", "_code", "**/jupyter_execute"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_render_markdown_format = "myst"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# --- the working folder of the pages ----------------------------------------------------

ROOT = Path(__file__).resolve().parent.parent
WORK = Path(tempfile.mkdtemp(prefix="hepgen-docs-"))
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
TUTORIAL = "tutorial/measure-mz"


def prepare_work() -> None:
    """A folder that looks like a checkout, with the real data where they can be found."""
    for name in ("workflows", "data"):
        (WORK / name).symlink_to(ROOT / name)
    os.environ.setdefault("HEPGEN_TESTDATA", str(ROOT.parent / "shared" / "data"))
    from hepgen.pipeline.data import find

    real = Path(find("uproot-Zmumu.root")).absolute()
    if real.exists():
        (WORK / real.name).symlink_to(real)
    data = "uproot-Zmumu.root:events" if real.exists() else "data/zmumu_pythia.root"
    os.environ |= {
        "HEPGEN_DOCS_WORK": str(WORK),
        "DATA": data,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
        "NO_COLOR": "1",
        # torch's progress bars would like a browser.
        "PYTHONWARNINGS": "ignore:IProgress not found",
    }
    os.environ.setdefault("OMP_NUM_THREADS", "1")


BARS = re.compile(r"(?<![\\|`])\|(Δ?[ηyφ]|d\w+/d\w+)\|")

# --- hooks ------------------------------------------------------------------------------


def tutorial_first(app: Any, env: Any, docnames: list[str]) -> None:  # noqa: ARG001
    """The tutorial trains what the other pages use."""
    docnames.sort(key=lambda name: (name != TUTORIAL, name))


def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:  # noqa: ARG001
    """``|η|`` is a modulus in a docstring, and a substitution in reStructuredText."""
    lines[:] = [BARS.sub(r"\\|\1\\|", line) for line in lines]


def whole_sentence(self: Any) -> tuple[str, list[str]]:
    """The docstring of a property: napoleon takes what stands before a colon for its type."""
    return "", self._dedent(self._consume_to_end())


def whole_return(self: Any, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:  # noqa: ARG001
    """The same for ``Returns:``; types are in the signature."""
    lines = self._dedent(self._consume_to_next_section())
    return [("", "", lines)] if lines else []


def public_reference(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """A link to ``hepgen.simulators.chain.Chain`` leads to ``hepgen.Chain``."""
    from sphinx.util.nodes import make_refnode

    target, objects = node.get("reftarget", ""), env.domains["py"].objects
    for name, home in hepgen._HOMES.items():
        full = f"hepgen.{home}.{name}"
        if target == full or target.startswith(f"{full}."):
            target = f"hepgen.{name}" + target.removeprefix(full)
    if target not in objects:
        return None
    found = objects[target]
    return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, contnode, target)


def all_documented(app: Any, env: Any) -> None:  # noqa: ARG001
    """Every public name has an entry in the reference."""
    from sphinx.util import logging

    documented = env.domains["py"].objects
    for name in hepgen.__all__:
        if f"hepgen.{name}" not in documented:
            logging.getLogger(__name__).warning("hepgen.%s is not in the reference", name)


def keep_report(app: Any, error: Exception | None) -> None:
    """The report that the tutorial made goes with the pages."""
    report = WORK / "results" / "report.html"
    if error is None and report.exists() and app.builder.format == "html":
        shutil.copy(report, Path(app.outdir) / "_static" / "report.html")


def say_times(app: Any, error: Exception | None) -> None:  # noqa: ARG001
    """What the code of each page took, the longest first."""
    from sphinx.util import logging

    kept = app.env.nb_metadata.items()
    took = {page: facts["exec_data"]["runtime"] for page, facts in kept if facts.get("exec_data")}
    for page, seconds in sorted(took.items(), key=lambda entry: -entry[1]):
        logging.getLogger(__name__).info("%6.0f s  %s", seconds, page)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    prepare_work()
    GoogleDocstring._consume_inline_attribute = whole_sentence
    GoogleDocstring._consume_returns_section = whole_return
    app.connect("env-before-read-docs", tutorial_first)
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("missing-reference", public_reference)
    app.connect("env-check-consistency", all_documented)
    app.connect("build-finished", keep_report)
    app.connect("build-finished", say_times)
