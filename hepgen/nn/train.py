"""The one training loop: AdamW, a one-cycle learning rate, signed weights, early stopping.

A step takes a batch by index from tensors in memory, so that nothing but the network costs
time. The learning rate follows one cycle (Smith and Topin, arXiv:1708.07120): up from a
25th of the maximum in the first part, then a cosine down to almost nothing. That anneals the
noise of the gradients away and takes large batches at a high rate.

Everything random in a step derives from (seed, step), and a checkpoint holds the weights, the
moments of the optimiser and the position in the epoch. On a CPU an interrupted training that
resumes therefore ends with the same weights, bit for bit, as one that ran through. The number
of threads is the caller's choice (``torch.set_num_threads``); one that differs between two
runs may change the order of a sum, and so the last bit. So does the number of processes that train
together (:mod:`hepgen.nn.together`), and what a loss draws then differs, too.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hepgen.errors import FileError, ProcessError, TrainingError
from hepgen.nn import together
from hepgen.nn.checkpoint import fingerprint, read_checkpoint, restore, write_checkpoint
from hepgen.nn.rows import Rows, shuffled
from hepgen.nn.split import normalised, split
from hepgen.nn.streams import BATCH, ORDER, VALIDATION, seed_global, stream
from hepgen.nn.training_state import TrainingSettings, TrainingState, state_from
from hepgen.results import TrainingCurve

Loss = Callable[[tuple[Tensor, ...]], Tensor]
"""A batch to the losses of its rows, shape ``(B,)``."""

# More momentum and a shorter memory of the gradients' size than Adam's default: a one-cycle
# training has few steps, and (0.9, 0.999) ended higher on most of eight samples.
_BETAS = (0.95, 0.99)
_REPORT_SECONDS = 0.5
_SAVE_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Arguments:
        epoch: The epoch that runs, from 1; after its end, that epoch.
        epochs: How many there will be at most.
        train: The mean training loss of this epoch so far.
        validation: The last validation loss; NaN before the first.
        seconds_left: An estimate for the rest.
        part: Which part of a training in several, e.g. ``embedding``.
    """

    epoch: int
    epochs: int
    train: float
    validation: float
    seconds_left: float
    part: str = ""


def train(
    module: nn.Module,
    loss: Loss,
    data: Rows,
    *,
    weight: Tensor | None = None,
    validation_fraction: float = 0.1,
    batch_size: int = 4096,
    epochs: int = 20,
    max_learning_rate: float = 4e-3,
    weight_decay: float = 1e-4,
    clip: float = 5.0,
    patience: int | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    time_budget: float | None = None,
    untrained: bool = False,
) -> TrainingCurve:
    """Minimise the weighted mean of ``loss`` over ``data``; leave the best weights in place.

    The loss of a set of rows is Σ wᵢ lᵢ / Σ wᵢ, with signed weights; in a batch the weights
    are divided by their mean over all training rows, so that a batch is unbiased.

    Arguments:
        module: What is trained, in place, on the device where its parameters are.
        loss: A batch, as ``data.take`` gives it, to per-row losses, shape ``(B,)``. What it
            draws from torch's global generator is seeded for each step.
        data: The rows.
        weight: Signed weights of the rows, shape ``(len(data),)``.
        validation_fraction: The share of rows that only measures.
        batch_size: Rows a step.
        epochs: Passes over the training rows.
        max_learning_rate: The top of the cycle.
        weight_decay: Of AdamW (Loshchilov and Hutter, arXiv:1711.05101).
        clip: The largest norm of a step's gradient.
        patience: Stop after this many epochs without a better validation loss; by default not at
            all. While the rate is high the loss hardly falls, and weights of then have its noise:
            what stops there is worse than what goes to the end of the cycle.
        seed: Of the split, the order and whatever ``data.take`` draws.
        checkpoint: A file to save to, now and then and on Ctrl-C, and to resume from. One
            that belongs to other data or settings is ignored with a warning.
        progress: Called twice a second and after each epoch.
        time_budget: Seconds after which the cycle is complete, wherever it stands. Where it
            binds, the result depends on the speed of the machine.
        untrained: Whether the weights as they are now are a candidate, too: the first entry of
            the curve is theirs. For a module that starts from a good guess.

    Returns:
        Losses an epoch, the best epoch (from 0), the seconds used and why it stopped.

    Raises:
        DataError: Too few rows, or weights that are not finite or do not sum to a positive
            number.
        TrainingError: The loss became NaN or infinite. The module then has its best weights.

    >>> from hepgen.nn.rows import Table
    >>> x = torch.linspace(-1, 1, 200)[:, None]
    >>> line = nn.Linear(1, 1)
    >>> curve = train(line, lambda b: (line(b[0]) - 2 * b[0]).square().sum(-1), Table(x),
    ...               batch_size=20, epochs=40, max_learning_rate=0.1)
    >>> round(line.weight.item(), 2)
    2.0
    """
    settings = TrainingSettings(
        validation_fraction, batch_size, epochs, max_learning_rate, weight_decay, clip, patience,
        seed, time_budget, untrained,
    )  # fmt: skip
    loop = _Loop(module, loss, data, weight, settings, checkpoint, progress)
    try:
        return loop.run()
    except KeyboardInterrupt:
        loop.save()
        raise


def one_cycle(fraction: float, maximum: float, rise: float = 0.15) -> float:
    """The learning rate when a ``fraction`` of the training is done.

    >>> [round(one_cycle(f, 1.0), 3) for f in (0.0, 0.15, 0.575, 1.0)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if fraction < rise:
        return maximum * (0.04 + 0.96 * fraction / rise)
    fall = min((fraction - rise) / (1 - rise), 1.0)
    return maximum * (1e-4 + (1 - 1e-4) * 0.5 * (1 + math.cos(math.pi * fall)))


class _Loop:
    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        data: Rows,
        weight: Tensor | None,
        settings: TrainingSettings,
        checkpoint: Path | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.module, self.loss, self.data = module, loss, data
        self.settings, self.checkpoint, self.progress = settings, checkpoint, progress
        self.training, self.validation = split(
            len(data), settings.validation_fraction, settings.seed
        )
        self.window: int = getattr(data, "window", 0)
        if self.window:  # read in the order in which they lie on the disk
            self.training, self.validation = self.training.msort(), self.validation.msort()
        self.weight = normalised(weight, len(data), self.training)
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=0.0, betas=_BETAS, weight_decay=settings.weight_decay,
            fused=True,
        )  # fmt: skip
        # Data stay where they are; a batch goes to the device of the network.
        self.device = next(module.parameters()).device
        together.start_alike(module)
        self.state = TrainingState()
        self.best = _copy(module)
        self.steps = math.ceil(len(self.training) / settings.batch_size)
        self.consistent = True
        self.clock = self.reported = self.saved = time.monotonic()

    def run(self) -> TrainingCurve:
        self._resume()
        self._refuse_another_start()
        # What a loss draws comes from the global generator, seeded for each step.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            if self.settings.untrained and not self.state.validation:
                first = self._validate()
                self._record(first, first)
            while not self.state.stopped:
                self._epoch()
        self.module.load_state_dict(self.best)
        self.module.eval()
        return self._curve()

    def save(self) -> None:
        """Write the checkpoint, unless a step was interrupted half-way."""
        if self.checkpoint is None or not self.consistent or not together.leads():
            return
        self._tick()
        write_checkpoint(
            self.checkpoint, self._fingerprint(), self.module, self.best, self.optimizer,
            asdict(self.state),
        )  # fmt: skip
        self.saved = time.monotonic()

    def _epoch(self) -> None:
        self.module.train()
        order = self._order()
        while self.state.step < self.steps:
            start = self.state.step * self.settings.batch_size
            last = self._out_of_time()
            self._step(order[start : start + self.settings.batch_size])
            self._report()
            self._save_now_and_then()
            if last:
                break
        self._finish_epoch()

    def _step(self, index: Tensor) -> None:
        number = self.state.epoch * self.steps + self.state.step
        fraction = self._fraction(self._seconds())
        rate = one_cycle(fraction, self.settings.max_learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, weight = self._loss(index, self._generator(BATCH, number))
        self.optimizer.zero_grad(set_to_none=True)
        # Divided by the rows, not by their weights: negative ones may sum to nothing.
        (loss / len(index)).backward()  # type: ignore[no-untyped-call]
        together.sum_gradients(self.module)
        total, weight = together.summed(loss.item(), weight)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.clip)
        self._refuse_non_finite(total, "training loss")
        self._refuse_non_finite(norm.item(), "gradient")
        self.consistent = False
        self.optimizer.step()
        self.state.loss += total
        self.state.weight += weight
        self.state.step += 1
        self.state.rate = rate
        self.consistent = True

    def _loss(
        self, index: Tensor, generator: torch.Generator, number: int = 0
    ) -> tuple[Tensor, float]:
        """Σ wᵢ lᵢ and Σ wᵢ over the rows of ``index`` that are for this process.

        They are the batch ``number`` of this generator.
        """
        own = together.share(index)
        if not len(own):  # fewer rows than processes
            total, _ = self._loss_of(index[:1], generator, number)
            return 0 * total, 0.0
        return self._loss_of(own, generator, number)

    def _loss_of(
        self, index: Tensor, generator: torch.Generator, number: int
    ) -> tuple[Tensor, float]:
        seed_global((generator.initial_seed() + number) % 2**63)
        batch = self.data.take(index, generator)
        losses = self.loss(tuple(tensor.to(self.device) for tensor in batch))
        if self.weight is None:
            return losses.sum(), float(len(index))
        weight = self.weight.index_select(0, index)
        return (weight.to(losses) * losses).sum(), float(weight.sum())

    def _finish_epoch(self) -> None:
        state = self.state
        validation = self._validate()
        self.consistent = False
        self._record(validation, state.loss / state.weight if state.weight else math.nan)
        state.epoch, state.step, state.loss, state.weight = state.epoch + 1, 0, 0.0, 0.0
        state.stopped = self._why_stop()
        self.consistent = True
        if state.stopped:
            self.save()
        self._report(force=True)

    def _record(self, validation: float, training: float) -> None:
        """An entry of the curve, and the weights if they are the best so far."""
        state = self.state
        best = validation < state.best
        state.train.append(training)
        state.validation.append(validation)
        state.learning_rate.append(state.rate)
        if best:
            state.best_epoch, self.best = len(state.validation) - 1, _copy(self.module)

    @torch.no_grad()
    def _validate(self) -> float:
        self.module.eval()
        generator = self._generator(VALIDATION, 0)
        parts = [
            self._loss(part, generator, number)
            for number, part in enumerate(self._validation_batches())
        ]
        total, weight = together.summed(
            sum(total.item() for total, _ in parts), sum(weight for _, weight in parts)
        )
        loss = total / weight
        self._refuse_non_finite(loss, "validation loss")
        return loss

    def _validation_batches(self) -> tuple[Tensor, ...]:
        return torch.split(self.validation, 2 * self.settings.batch_size)

    def _why_stop(self) -> str:
        state, patience = self.state, self.settings.patience
        if state.epoch >= self.settings.epochs:
            return "all epochs done"
        if self._out_of_time():
            return "time budget used"
        if patience is not None and len(state.validation) - 1 - state.best_epoch >= patience:
            return f"no better validation loss in {patience} epochs"
        return ""

    def _fraction(self, seconds: float) -> float:
        """The part of the training that is done, by steps or by time."""
        done = (self.state.epoch * self.steps + self.state.step) / (
            self.settings.epochs * self.steps
        )
        if self.settings.time_budget is None:
            return done
        return max(done, seconds / self.settings.time_budget)

    def _out_of_time(self) -> bool:
        if self.settings.time_budget is None:
            return False
        return self._seconds() >= self.settings.time_budget

    def _seconds(self) -> float:
        """Of the leader's clock where it decides anything: all have to decide alike."""
        self._tick()
        if self.settings.time_budget is None:
            return self.state.seconds
        (seconds,) = together.as_the_leader(self.state.seconds)
        return seconds

    def _generator(self, kind: int, number: int) -> torch.Generator:
        """Of what this process draws in a batch."""
        own = () if together.leads() else (together.number(),)
        return stream(self.settings.seed, kind, number, *own)

    def _order(self) -> Tensor:
        generator = stream(self.settings.seed, ORDER, self.state.epoch)
        return shuffled(self.training, generator, self.window)

    def _refuse_non_finite(self, value: float, what: str) -> None:
        if math.isfinite(value):
            return
        self.module.load_state_dict(self.best)
        best = self.state.best_epoch
        kept = f"those of epoch {best + 1}" if best >= 0 else "the initial ones"
        raise TrainingError(
            f"the {what} became {value} in epoch {self.state.epoch + 1}, step "
            f"{self.state.step + 1}; the weights are now {kept}. Lower max_learning_rate "
            f"(now {self.settings.max_learning_rate:g}), or look for extreme values in the data",
            self._curve(),
        )

    def _tick(self) -> None:
        now = time.monotonic()
        self.state.seconds += now - self.clock
        self.clock = now

    def _report(self, force: bool = False) -> None:
        now = time.monotonic()
        if self.progress is None or (now - self.reported < _REPORT_SECONDS and not force):
            return
        self.reported = now
        self._tick()
        state = self.state
        fraction = self._fraction(state.seconds)
        left = 0.0 if state.stopped else state.seconds * (1 / max(fraction, 1e-9) - 1)
        running = state.loss / state.weight if state.weight else math.nan
        self.progress(
            Progress(
                epoch=state.epoch if force else state.epoch + 1,
                epochs=self.settings.epochs,
                train=state.train[-1] if force else running,
                validation=state.validation[-1] if state.validation else math.nan,
                seconds_left=max(left, 0.0),
            )
        )

    def _save_now_and_then(self) -> None:
        if self.checkpoint is not None and time.monotonic() - self.saved > _SAVE_SECONDS:
            self.save()

    def _fingerprint(self) -> str:
        some = self.training[:256]
        sample = self.data.take(some, stream(0, BATCH, 0))
        weight = [self.weight[some]] if self.weight is not None else []
        return fingerprint(asdict(self.settings), len(self.data), self.module, [*sample, *weight])

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        try:
            tensors, state = read_checkpoint(self.checkpoint, self._fingerprint())
            restored = state_from(state)
            self.best = restore(tensors, self.module, self.best, self.optimizer)
        except (FileError, ValueError, TypeError) as error:
            _log.warning("checkpoint %s is not used: %s", self.checkpoint, error)
            return
        self.state = restored
        self.clock = time.monotonic()

    def _refuse_another_start(self) -> None:
        own = float(self.state.epoch * self.steps + self.state.step)
        (leaders,) = together.as_the_leader(own)
        if own != leaders:
            raise ProcessError(
                f"process {together.number()} starts at step {own:.0f}, and the first one at "
                f"{leaders:.0f}: they do not see the same checkpoint {self.checkpoint}; put the "
                "run folder on a disk that all nodes share"
            )

    def _curve(self) -> TrainingCurve:
        self._tick()
        state = self.state
        return TrainingCurve(
            tuple(state.train), tuple(state.validation), tuple(state.learning_rate),
            state.best_epoch, state.seconds, state.stopped,
        )  # fmt: skip


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
