"""Small classifiers of fixed features: multinomial logistic regression, and an average of two-layer networks."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

HIDDEN, MEMBERS = 64, 3  # units of a network, networks
EPOCHS, BATCH = 15, 128
RATE, DECAY = 2e-3, 1e-2
NOISE = 1.0  # in standard deviations of the features
DROPOUT, SMOOTHING = 0.5, 0.05


def fit_linear(features: Tensor, labels: Tensor, classes: int, penalty: float) -> nn.Linear:
    """Multinomial logistic regression with a penalty on the squared norm; every label counts alike.

    Args:
        features: [n, e].
        labels: [n], from 0 to classes - 1.
        classes: C, how many labels there are.
        penalty: weight of the squared norm of the layer's weight.
    """
    centre = features.mean(0)
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    weights = _balanced(labels, classes)
    solver = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        logits = (features - centre) @ weight.T + bias
        value = cross_entropy(logits, labels, weights) + penalty * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)
    return _linear(weight.detach().clone(), (bias - weight @ centre).detach().clone())


def fit_networks(features: Tensor, labels: Tensor, classes: int, seed: int = 0) -> nn.Sequential:
    """Networks of one hidden layer, fitted apart to noisy features; their logits are averaged by one wide network.

    Every label counts alike. The noise (Bishop 1995) keeps the networks from learning the wording of examples
    that were made from templates.

    Args:
        features: [n, e].
        labels: [n], from 0 to classes - 1.
        classes: C, how many labels there are.
        seed: of every random choice.
    """
    centre, scale = features.mean(0), features.std().clamp(min=1e-6)
    scaled = (features - centre) / scale
    fitted = [_fit_network(scaled, labels, classes, 1000 * seed + member) for member in range(MEMBERS)]
    into = torch.cat([first.weight for first, _ in fitted]) / scale
    bias = torch.cat([first.bias for first, _ in fitted]) - into @ centre
    out = torch.cat([last.weight for _, last in fitted], dim=1) / MEMBERS
    last_bias = torch.stack([last.bias for _, last in fitted]).mean(0)
    return two_layers(into.detach(), bias.detach(), out.detach(), last_bias.detach())


def two_layers(into: Tensor, bias: Tensor, out: Tensor, last_bias: Tensor) -> nn.Sequential:
    """A network of one hidden layer from its weights.

    Args:
        into: [h, e].
        bias: [h].
        out: [C, h].
        last_bias: [C].
    """
    return nn.Sequential(_linear(into, bias), nn.GELU(), _linear(out, last_bias))


def _fit_network(features: Tensor, labels: Tensor, classes: int, seed: int) -> tuple[nn.Linear, nn.Linear]:
    generator = torch.Generator().manual_seed(seed)
    size = features.shape[1]
    first = _linear(torch.randn(HIDDEN, size, generator=generator) / size**0.5, torch.zeros(HIDDEN))
    last = _linear(torch.randn(classes, HIDDEN, generator=generator) / HIDDEN**0.5, torch.zeros(classes))
    weights = [*first.parameters(), *last.parameters()]
    solver = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * -(-len(features) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(solver, RATE, total_steps=steps)
    balance = _balanced(labels, classes)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(features), generator=generator).split(BATCH):
            noisy = features[rows] + NOISE * torch.randn(len(rows), size, generator=generator)
            kept = (torch.rand(len(rows), HIDDEN, generator=generator) >= DROPOUT) / (1 - DROPOUT)
            with torch.enable_grad():
                logits = last(nn.functional.gelu(first(noisy)) * kept)
                loss = cross_entropy(logits, labels[rows], balance, label_smoothing=SMOOTHING)
                solver.zero_grad()
                loss.backward()
            solver.step()
            schedule.step()
    return first, last


def _balanced(labels: Tensor, classes: int) -> Tensor:
    """Weights by which every label counts alike, however many examples it has; their mean over examples is 1."""
    counts = one_hot(labels, classes).sum(0)
    return len(labels) / classes / counts.clamp(min=1)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer
