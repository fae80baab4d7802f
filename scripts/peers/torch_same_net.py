"""PyTorch's training throughput on the network of `scripts/benchmark.py throughput`; see `worker.py`.

python torch_same_net.py --batch=128 [--compile]
"""

import argparse

import torch
import worker
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--compile", action="store_true")
args = parser.parse_args()

device = "cuda" if torch.cuda.is_available() else "cpu"
images, labels = worker.examples()
images = torch.from_numpy(images[..., 0])[:, None].float().div_(255).to(device)
labels = torch.from_numpy(labels).long().to(device)

model = nn.Sequential(
    *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
    *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
    *(nn.Flatten(), nn.Linear(7 * 7 * 64, 256), nn.ReLU(), nn.Linear(256, 10)),
).to(device, memory_format=torch.channels_last)
forward = torch.compile(model) if args.compile else model
optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)


def train(steps: int) -> None:
    for _ in range(steps):
        rows = torch.randint(len(images), (args.batch,), device=device)
        batch = images[rows].contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(forward(batch), labels[rows])
        loss.backward()
        optimizer.step()
    loss.item()  # waits for the device


worker.serve(train, args.batch)
