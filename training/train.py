"""Train the embedded VAE: teach it TAEF2's latents, and to decode its own.

    python training/crops.py --work DIR
    python training/train.py encoder --work DIR --teacher DIR/taef2 --minutes 15
    python training/train.py decoder --work DIR --teacher DIR/taef2 --minutes 9
    python training/train.py both --work DIR --teacher DIR/taef2 --minutes 33

First the new ends learn to work with the layers that came from the teacher: the encoder's to say
what the teacher says, the decoder's to read it. These two can run beside each other. Then all
layers learn to work together, and DIR/semsearch-vae.safetensors is written. Killed and started
again, each stage goes on where it was: `DIR/STAGE.pt` is rewritten every two minutes.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lessons import Lessons, asked, shrunk, taef2
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.nn.functional import mse_loss as squared

from semsearch.encoders.compact import CompactVAE
from semsearch.encoders.taef2 import TAEF2

WORKERS, BATCH = 2, 12  # of each worker
WARM_UP = 100  # batches
AVERAGED = 0.998  # of the moving average of the weights, which is what is kept
SECONDS_BETWEEN_CHECKPOINTS = 120
# The layers of TAEF2 that the student begins with.
ENCODER_FROM, DECODER_UP_TO = 7, 11

_HALVES = ("encoder", "decoder")

Losses = dict[str, Tensor]


def main() -> int:
    """Ask the teacher, train, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--work", type=Path, required=True, help="where crops.py wrote")
    parser.add_argument("--teacher", required=True, help="the files of TAEF2, as VAE takes them")
    parser.add_argument("--minutes", type=float, default=40)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # of one worker; more made bfloat16's gradients 20 times slower
    work: Path = options.work
    teacher = taef2(options.teacher)
    lessons = asked(teacher, work)
    path = work / f"{options.stage}.pt"
    run = Run(STAGES[options.stage], beginning(teacher), path, 60 * options.minutes)
    if options.stage == "both":
        halves = (torch.load(work / f"{name}.pt", weights_only=True) for name in _HALVES)
        run.start_from(*(half["average"] for half in halves))
    run.go_on()
    train(run, lessons)
    if options.stage == "both":
        weights = {name: value.half().contiguous() for name, value in run.average.items()}
        save_file(weights, work / "semsearch-vae.safetensors")
    return 0


def beginning(teacher: TAEF2) -> CompactVAE:
    """A student with the teacher's layers at the low resolutions, and ends that know nothing."""
    model = CompactVAE()
    model.to(memory_format=torch.channels_last)
    for part, layers in (
        (model.encoder, teacher.encoder[ENCODER_FROM:]),
        (model.decoder, teacher.decoder[:DECODER_UP_TO]),
    ):
        part.load_state_dict(nn.Sequential(*layers).state_dict())  # a slice keeps its numbers
    return model


# -- what is learnt ------------------------------------------------------------------------------


def saying(model: CompactVAE, lessons: Lessons, random: np.random.Generator) -> Losses:
    """How far the student's latents are from the teacher's, and their means over 2x2 places."""
    pictures, latents, small = lessons.batch(BATCH, random)
    return _latents_apart(model, pictures, latents, small, model.encode(pictures).float())


def reading(model: CompactVAE, lessons: Lessons, random: np.random.Generator) -> Losses:
    """How far the pictures decoded from the teacher's latents are from the true ones."""
    pictures, latents, _ = lessons.batch(BATCH, random)
    return {"pictures": _pictures_apart(model.decode(latents).float(), pictures)}


def together(model: CompactVAE, lessons: Lessons, random: np.random.Generator) -> Losses:
    """Both, and the decoder reads the student's own latents."""
    pictures, latents, small = lessons.batch(BATCH, random)
    own = model.encode(pictures).float()
    apart = _latents_apart(model, pictures, latents, small, own)
    return {**apart, "pictures": _pictures_apart(model.decode(own).float(), pictures)}


def _latents_apart(
    model: CompactVAE, pictures: Tensor, latents: Tensor, small: Tensor, own: Tensor
) -> Losses:
    own_small = model.encode(shrunk(pictures)).float()
    means, means_small = (
        squared(shrunk(one), shrunk(other)) for one, other in ((own, latents), (own_small, small))
    )
    return {
        "latents": squared(own, latents) + squared(own_small, small),
        "means": means + means_small,
    }


def _pictures_apart(decoded: Tensor, pictures: Tensor) -> Tensor:
    return 10 * squared(decoded, pictures) + 0.3 * l1_loss(decoded, pictures)


@dataclass(frozen=True, slots=True)
class Stage:
    """What is learnt by which parts of the model, and how fast at the beginning and at the end."""

    loss: Callable[[CompactVAE, Lessons, np.random.Generator], Losses]
    parts: tuple[str, ...]
    first_rate: float
    last_rate: float


STAGES = {
    "encoder": Stage(saying, ("stem",), 1e-3, 1e-4),
    "decoder": Stage(reading, ("head",), 1e-3, 1e-4),
    "both": Stage(together, ("stem", "encoder", "decoder", "head"), 4e-4, 0),
}


# -- training ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Run:
    """All that a training run is made of, so that it can go on.

    Attributes:
        stage: What is learnt.
        model: What learns it.
        path: Of the checkpoint.
        seconds: The time it may take.
        learning: The weights that are learnt.
        optimizer: Of those.
        average: Moving average of the model's weights.
        spent: Seconds so far.
        step: Batches so far.
    """

    stage: Stage
    model: CompactVAE
    path: Path
    seconds: float
    learning: list[nn.Parameter] = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    average: dict[str, Tensor] = field(init=False)
    spent: float = 0.0
    step: int = 0

    def __post_init__(self) -> None:
        for name, part in self.model.named_children():
            part.requires_grad_(name in self.stage.parts)
        self.learning = [value for value in self.model.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(self.learning)
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}

    def start_from(self, encoder: dict[str, Tensor], decoder: dict[str, Tensor]) -> None:
        """Take each half from who learnt it."""
        for name, value in self.average.items():
            learnt = encoder if name.startswith(("stem", "encoder")) else decoder
            value.copy_(learnt[name])
        self.model.load_state_dict(self.average)

    def go_on(self) -> None:
        """Where the checkpoint was written, if there is one."""
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.spent, self.step, self.average = state["spent"], state["step"], state["average"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])

    @property
    def progress(self) -> float:
        """From 0 to 1 by the clock, so that the rate falls in time whatever the machine."""
        return self.spent / self.seconds

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "spent": self.spent,
            "step": self.step,
            "average": self.average,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)


def train(run: Run, lessons: Lessons) -> None:
    """Until the time is over; each worker computes the gradients of a batch of its own."""
    randoms = np.random.default_rng(run.step).spawn(WORKERS)
    saved = run.spent
    with ThreadPoolExecutor(WORKERS) as pool:
        while run.progress < 1:
            begin = time.monotonic()
            lots = list(pool.map(lambda random: _gradients(run, lessons, random), randoms))
            gradients = zip(*(lot for lot, _ in lots), strict=True)
            _learn(run, [torch.stack(each).mean(dim=0) for each in gradients])
            run.spent += time.monotonic() - begin
            if run.step % 50 == 0:
                print(f"{run.step} batches, {run.spent:.0f} s: {_shown(lots[0][1])}", flush=True)
            if run.spent - saved > SECONDS_BETWEEN_CHECKPOINTS or run.progress >= 1:
                run.save()
                saved = run.spent


def _shown(losses: Losses) -> str:
    return ", ".join(f"{name} {value.item():.4f}" for name, value in losses.items())


def _gradients(
    run: Run, lessons: Lessons, random: np.random.Generator
) -> tuple[tuple[Tensor, ...], Losses]:
    with torch.autocast("cpu", torch.bfloat16):  # the loss itself is taken in float32
        losses = run.stage.loss(run.model, lessons, random)
    return torch.autograd.grad(sum(losses.values(), torch.zeros(())), run.learning), losses


def _learn(run: Run, gradients: list[Tensor]) -> None:
    """One step; the rate falls along half a cosine."""
    fallen = (1 - math.cos(math.pi * run.progress)) / 2
    rate = run.stage.first_rate + (run.stage.last_rate - run.stage.first_rate) * fallen
    for group in run.optimizer.param_groups:
        group["lr"] = rate * min(1, (run.step + 1) / WARM_UP)
    for value, gradient in zip(run.learning, gradients, strict=True):
        value.grad = gradient
    torch.nn.utils.clip_grad_norm_(run.learning, 1.0)
    run.optimizer.step()
    run.step += 1
    kept = min(AVERAGED, run.step / (run.step + 10))
    with torch.no_grad():
        for name, value in run.model.state_dict().items():
            run.average[name].lerp_(value, 1 - kept)


if __name__ == "__main__":
    sys.exit(main())
