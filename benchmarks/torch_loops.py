"""The same training in PyTorch: as the post writes it, and as well as a user of PyTorch can."""

from collections.abc import Callable

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import points


class VAE(nn.Module):
    """Encoder and decoder with one hidden layer of tanh units."""

    def __init__(self, hidden: int):
        super().__init__()
        self.hidden, self.mean, self.logvar = (
            nn.Sequential(nn.Linear(2, hidden), nn.Tanh()),
            nn.Linear(hidden, 1),
            nn.Linear(hidden, 1),
        )
        self.decoder = nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, 2))

    def forward(self, x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """Returns the mean negative ELBO of a batch x [B, 2], up to its constant."""
        hidden = self.hidden(x)
        mean, logvar = self.mean(hidden), self.logvar(hidden)
        decoded = self.decoder(mean + torch.exp(0.5 * logvar) * eps)
        reconstruction = ((x - decoded) ** 2).sum(dim=1) / (2 * points.SIGMA**2)
        kl = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum(dim=1)
        return (reconstruction + kl).mean()


def _of(seed: int, num_points: int, hidden: int) -> tuple[VAE, torch.Tensor]:
    torch.manual_seed(seed)
    return VAE(hidden), torch.from_numpy(points.spiral(seed, num_points))


def make_post(*, seeds: int, num_points: int, hidden: int, cores: int) -> Callable[[int], float]:
    """The post's loop: eager, with a DataLoader, one seed."""
    assert seeds == 1
    torch.set_num_threads(cores)
    model, x = _of(0, num_points, hidden)
    loader = DataLoader(TensorDataset(x), batch_size=points.BATCH_SIZE, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=points.LEARNING_RATE)

    def train(epochs: int) -> float:
        for _ in range(epochs):
            total = 0.0
            for (batch,) in loader:
                optimizer.zero_grad()
                loss = model(batch, torch.randn(len(batch), 1))
                loss.backward()
                optimizer.step()
                total += loss.item()
        return total / len(loader)

    return train


def make_lean(
    *, seeds: int, num_points: int, hidden: int, cores: int, compiled: bool = False
) -> Callable[[int], float]:
    """No DataLoader, one fused Adam, no number fetched but the last; one seed."""
    assert seeds == 1
    torch.set_num_threads(cores)
    model, x = _of(0, num_points, hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=points.LEARNING_RATE, fused=True)
    loss_fn = torch.compile(model) if compiled else model

    def train(epochs: int) -> float:
        for _ in range(epochs):
            losses = []
            for index in torch.randperm(num_points).split(points.BATCH_SIZE):
                optimizer.zero_grad()
                loss = loss_fn(x[index], torch.randn(len(index), 1))
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    return train


def make_compiled(**sizes: int) -> Callable[[int], float]:
    """The lean loop with torch.compile."""
    return make_lean(**sizes, compiled=True)


def make_vmap(*, seeds: int, num_points: int, hidden: int, cores: int) -> Callable[[int], float]:
    """Many seeds at once by torch.func, with one fused Adam for all."""
    torch.set_num_threads(cores)
    models, x = zip(*(_of(seed, num_points, hidden) for seed in range(seeds)), strict=True)
    x = torch.stack(x)
    params, _ = stack_module_state(list(models))
    optimizer = torch.optim.Adam(params.values(), lr=points.LEARNING_RATE, fused=True)

    def loss_fn(params: dict, batch: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        return functional_call(models[0], params, (batch, eps))

    step = torch.vmap(grad_and_value(loss_fn))

    def train(epochs: int) -> float:
        for _ in range(epochs):
            losses = []
            order = torch.rand(seeds, num_points).argsort(dim=1)
            for index in order.split(points.BATCH_SIZE, dim=1):
                batch = torch.gather(x, 1, index[..., None].expand(-1, -1, 2))
                with torch.no_grad():
                    grads, loss = step(params, batch, torch.randn(*batch.shape[:2], 1))
                for name, leaf in params.items():
                    leaf.grad = grads[name]
                optimizer.step()
                losses.append(loss)
        return float(torch.stack(losses).mean())

    return train
