"""Prepare: simulate what the estimators of a workflow learn from, all of it or one shard."""

from __future__ import annotations

from typing import Any

from hepgen.pipeline.blocks import summary
from hepgen.pipeline.estimators import beside, estimator
from hepgen.pipeline.samples import learning_sessions
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import BlockSource, plan_of, run_campaign, shard_range
from hepgen.pipeline.training_data import kind_of, store_of
from hepgen.pipeline.training_files import TrainingFiles


def prepare(session: Session, shard: str | None = None) -> list[dict[str, Any]]:
    """Fill the run folder with the simulations of a workflow's estimators.

    Processes that share the folder may each make a shard; a training then finds all of them.

    Arguments:
        session: The workflow.
        shard: ``i/n``: only the i-th of n parts.

    Returns:
        What is in each folder of blocks: see :func:`hepgen.pipeline.blocks.summary`.

    Raises:
        InputError: The shard is not of that form.
        FileError: A folder cannot be written.
    """
    found = []
    for kind, campaign, one in _campaigns(session).values():
        store = store_of(one, campaign, kind)
        store.intend(plan_of(campaign, shard, {}))
        run_campaign(
            campaign, store, workers=session.workers, monitor=session.monitor,
            blocks=shard_range(campaign.blocks, shard), title=f"simulate {kind}",
        )  # fmt: skip
        found.append(summary(store))
    return found


def _campaigns(session: Session) -> dict[str, tuple[str, BlockSource, Session]]:
    """Those of all estimators, each once, by the folder of its blocks."""
    sources = [
        (campaign, one)
        for name in beside(session)
        for one in learning_sessions(session, estimator(name).amortised)
        for campaign in estimator(name).campaigns(one)
    ]
    kinds = [(kind_of(c), c, one) for c, one in sources if not isinstance(c, TrainingFiles)]
    return {str(store_of(one, c, kind).folder): (kind, c, one) for kind, c, one in kinds}
