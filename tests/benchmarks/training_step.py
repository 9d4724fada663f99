"""One training step against normflows' residual flow: equal model, equal number of Jacobian products, one run.

    python tests/benchmarks/training_step.py           (needs the extra: pip install -e .[benchmark])

Both sides take a batch through the same chain of residual blocks (pre-activation, 3x3 - 1x1 - 3x3, LipSwish, norm bound
0.98, norm tolerance 1e-3) with the Neumann gradient and a fixed number of terms, then backward, Adam and the power
iteration. One thread, CPU time, steps interleaved, medians; ratios are what counts.
"""

import argparse
import statistics
import time

import normflows
import torch
from torch.nn.functional import pixel_unshuffle

import resflow_lite as rf
from resflow_lite.models.branches import conv_branch

TERMS = 4
CASES = [(shape, (2, 2), 64, batch) for batch in (16, 64) for shape in ((1, 28, 28), (3, 32, 32))]
"""Shapes, blocks per scale, width, batch. The norms cost the same for every batch: the paper's has 64 images."""


class Ours(torch.nn.Module):
    def __init__(self, shape, blocks, width, memory):
        super().__init__()
        estimator = rf.PowerSeries(rf.Truncated(TERMS), probe="gaussian")
        channels, layers = shape[0], []
        for scale, n in enumerate(blocks):
            if scale:
                layers.append(rf.Squeeze())
                channels *= 4
            branches = [conv_branch(channels, width, "lipswish", 0.98, preactivation=True) for _ in range(n)]
            layers += [rf.ResidualBlock(branch, estimator, estimator, "neumann", memory) for branch in branches]
        self.chain = rf.Chain(layers)

    def loss(self, x):
        z, log_det = self.chain(x)
        return (0.5 * z.square().flatten(1).sum(1) - log_det).mean()

    def after(self):
        rf.update_norms_(self)


class Theirs(torch.nn.Module):
    def __init__(self, shape, blocks, width):
        super().__init__()
        self.scales = torch.nn.ModuleList()
        channels = shape[0]
        for scale, n in enumerate(blocks):
            channels *= 4 if scale else 1
            nets = [
                normflows.nets.LipschitzCNN(
                    [channels, width, width, channels],
                    [3, 1, 3],
                    lipschitz_const=0.98,
                    max_lipschitz_iter=None,
                    lipschitz_tolerance=1e-3,
                    init_zeros=False,
                )
                for _ in range(n)
            ]
            flows = [normflows.flows.Residual(net, reverse=False, n_power_series=TERMS) for net in nets]
            self.scales.append(torch.nn.ModuleList(flows))

    def loss(self, x):
        total = 0.0
        for i, scale in enumerate(self.scales):
            x = pixel_unshuffle(x, 2) if i else x
            for flow in scale:
                x, log_det = flow(x)
                total = total + log_det.view(-1)
        return (0.5 * x.square().flatten(1).sum(1) - total).mean()

    def after(self):
        """Their layers iterate in the forward pass."""


def stepper(model, x):
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step():
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()
        model.after()

    return step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{TERMS} terms, one thread, CPU seconds a step, median of {rounds} interleaved rounds")
    for shape, blocks, width, batch in CASES:
        torch.manual_seed(0)
        x = torch.randn(batch, *shape)
        models = {
            "normflows": Theirs(shape, blocks, width),
            "store": Ours(shape, blocks, width, "store"),
            "recompute": Ours(shape, blocks, width, "recompute"),
            "store, compiled": Ours(shape, blocks, width, "store"),
            "recompute, compiled": Ours(shape, blocks, width, "recompute"),
        }
        for name in ("store, compiled", "recompute, compiled"):
            rf.compile_activations_(models[name])
        steps = {name: stepper(model, x) for name, model in models.items()}
        times = {name: [] for name in steps}
        for i in range(rounds + 3):
            for name, step in steps.items():
                start = time.process_time()
                step()
                if i >= 3:
                    times[name].append(time.process_time() - start)
        medians = {name: statistics.median(t) for name, t in times.items()}
        print(f"images {shape}, blocks {blocks}, width {width}, batch {batch}")
        for name, median in medians.items():
            print(f"  {name:22} {median:8.4f} s   {medians['normflows'] / median:5.2f} times as fast as normflows")


if __name__ == "__main__":
    main()
