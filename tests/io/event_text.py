"""Small LHE and HepMC files, as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LHE_HEAD = """<LesHouchesEvents version="3.0">
<header>
<initrwgt>
<weightgroup name="scale_variation" combine="envelope">
<weight id="1001"> muR=2 </weight>
<weight id="1002"> muR=0.5 </weight>
</weightgroup>
<weightgroup name="PDF_variation" combine="gaussian">
<weight id="2001"> member 1 </weight>
</weightgroup>
<weight id="cw"> coupling </weight>
</initrwgt>
</header>
<init>
 2212 2212 3.5e3 3.5e3 0 0 0 0 3 2
 700.5 1.0 1.0 1
 18.0 1.0 1.0 2
</init>
"""
LHE_END = "</LesHouchesEvents>\n"


def lhe_event(k: int) -> str:
    """A muon pair of py = k, and a b quark; the weight of event 2 is negative."""
    weight = -1.0 if k == 2 else 2.0
    return f"""<event>
 5 1 {weight} 91.2 0.0078 0.118
 2 -1 0 0 501 0 0 0 100 100 0 0 9
 -2 -1 0 0 0 501 0 0 -20 20 0 0 9
 13 1 1 2 0 0 30.0 {k}.0 40.0 60.0 0.105 0 9
 -13 1 1 2 0 0 -30.0 -{k}.0 40.0 60.0 0.105 0 9
 -5 1 1 2 0 0 0 0 {k}.5 10.0 4.8 0 9
# a comment
<rwgt>
<wgt id="1001"> {1.1 * weight} </wgt>
<wgt id="1002"> {0.9 * weight} </wgt>
<wgt id="2001"> {1.05 * weight} </wgt>
<wgt id="cw"> {k} </wgt>
</rwgt>
</event>
"""


def lhe(n: int, event: Callable[[int], str] = lhe_event) -> str:
    """A file of ``n`` events."""
    return LHE_HEAD + "".join(map(event, range(n))) + LHE_END


def hepmc_event(pyhepmc: Any, k: int, run_info: Any) -> Any:
    """e⁺e⁻ to a muon pair, b quarks that are no final state, and a pion, which has px = k."""
    event = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
    event.event_number = k
    vertex = pyhepmc.GenVertex()
    for sign in (1, -1):
        beam = pyhepmc.GenParticle((0, 0, 45.0 * sign, 45.0), 11 * sign, 4)
        vertex.add_particle_in(beam)
    for px, identity, status in (
        (1.0, 5, 23), (2.0, 13, 1), (3.0, -13, 1), (float(k), 211, 1),
    ):  # fmt: skip
        vertex.add_particle_out(pyhepmc.GenParticle((px, 0.5, 0, 20 + k), identity, status))
    event.add_vertex(vertex)
    event.run_info = run_info
    event.weights = [2.0, 3.0 + k]
    sigma = pyhepmc.GenCrossSection()
    sigma.set_cross_section(12.5 + k, 0.1, k + 1, k + 1)
    event.cross_section = sigma
    return event
