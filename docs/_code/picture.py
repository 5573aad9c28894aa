"""Makes docs/_static/zmumu-posterior.png: a result on the CMS pairs, as the report shows it.

    python docs/_code/picture.py [WORKFLOW [DATA]]

from the folder of the project. Simulates and trains first where that is needed.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

import hepgen
from hepgen import plots
from hepgen.pipeline.progress import monitor

TARGET = Path(__file__).resolve().parent.parent / "_static" / "zmumu-posterior.png"


def main(workflow: str = "workflows/zmumu.toml", data: str = "uproot-Zmumu.root:events") -> None:
    """Infer, and draw m_Z beside the mass spectrum."""
    session = hepgen.Session.open(workflow, monitor=monitor())
    inference = hepgen.infer(session, hepgen.DataRequest([data]))
    m_z = session.parameters["m_z"]
    posterior = plots.plot_posterior(
        {name.upper(): s.column("m_z").numpy() for name, s in inference.samples.items()},
        m_z, reference_error=m_z.reference_error, data=f"{inference.result.events} CMS pairs, 2010",
    )  # fmt: skip
    spectrum = plots.plot_comparison(inference.comparisons[0])
    images = [image(spectrum), image(posterior)]
    height = min(one.height for one in images)
    images = [one.resize((round(one.width * height / one.height), height)) for one in images]
    both = Image.new("RGB", (sum(one.width for one in images), height), "white")
    left = 0
    for one in images:
        both.paste(one, (left, 0))
        left += one.width
    both.quantize(128).save(TARGET, optimize=True)
    print(f"m_Z = {inference.result.parameters['m_z']}")
    print(f"{TARGET}: checks {'passed' if inference.result.passed else 'FAILED'}")


def image(figure: Figure) -> Image.Image:
    """The figure in pixels, on white."""
    return Image.open(io.BytesIO(plots.png(figure, dpi=150))).convert("RGB")


if __name__ == "__main__":
    main(*sys.argv[1:])
