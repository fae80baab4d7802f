"""PyTorch's training throughput on the network of `scripts/benchmark throughput`; see `worker.py`.

    python torch_same_net.py --batch=128 --dtype=float32 [--how=compile]

--how: eager; compile: torch.compile; graph: a whole step as a CUDA graph
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

import argparse
from collections.abc import Callable

import torch
import worker
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--dtype", choices=("float32", "bfloat16"), required=True)
parser.add_argument("--how", choices=("eager", "compile", "graph"), default="eager")
args = parser.parse_args()

device = "cuda" if torch.cuda.is_available() else "cpu"
if device == "cuda":
    torch.set_float32_matmul_precision("high")  # the default of convolutions, and of JAX everywhere
    torch.backends.cudnn.benchmark = True
images, labels = worker.examples()
images = torch.from_numpy(images[..., 0])[:, None].float().div_(255).to(device)
labels = torch.from_numpy(labels).long().to(device)

model = nn.Sequential(
    *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
    *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
    *(nn.Flatten(), nn.Linear(7 * 7 * 64, 256), nn.ReLU(), nn.Linear(256, 10)),
).to(device, memory_format=torch.channels_last)
# On a GPU the time of a step this small is mostly the launch of kernels, which a CUDA graph removes.
mode = "reduce-overhead" if device == "cuda" else "default"
forward = torch.compile(model, mode=mode) if args.how == "compile" else model
optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, fused=device == "cuda")


def step() -> torch.Tensor:
    rows = torch.randint(len(images), (args.batch,), device=device)
    batch = images[rows].contiguous(memory_format=torch.channels_last)
    optimizer.zero_grad()
    with torch.autocast(device, torch.bfloat16, enabled=args.dtype == "bfloat16"):
        loss = nn.functional.cross_entropy(forward(batch), labels[rows])
    loss.backward()
    optimizer.step()
    return loss


def replayed() -> Callable[[], torch.Tensor]:
    """`step` as a CUDA graph, after a few steps on another stream that initialize libraries."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()

    def replay() -> torch.Tensor:
        graph.replay()
        return loss

    return replay


take = replayed() if args.how == "graph" else step


def train(steps: int) -> None:
    for _ in range(steps):
        loss = take()
    loss.item()  # waits for the device


worker.serve(train, args.batch)
