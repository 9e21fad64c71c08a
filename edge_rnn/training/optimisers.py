"""Optimisers by name.

Adam (D. Kingma, J. Ba, 2015), RMSprop (T. Tieleman, G. Hinton, 2012), and stochastic gradient
descent with momentum (B. Polyak, 1964).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn, optim

from edge_rnn.contract.errors import UsageError

OPTIMISERS: dict[str, Callable[[list[nn.Parameter], float, float], optim.Optimizer]] = {
    "adam": lambda parameters, rate, _: optim.Adam(parameters, lr=rate),
    "rmsprop": lambda parameters, rate, momentum: optim.RMSprop(parameters, lr=rate, momentum=momentum),
    "sgd": lambda parameters, rate, momentum: optim.SGD(parameters, lr=rate, momentum=momentum),
}
"""Name to what makes the optimiser from parameters, learning rate and momentum."""


def make_optimiser(
    name: str, parameters: Iterable[nn.Parameter], learning_rate: float, momentum: float = 0.0
) -> optim.Optimizer:
    """The optimiser ``name`` over ``parameters``. Raises `UsageError` for an unknown name or Adam with momentum."""
    if name not in OPTIMISERS:
        raise UsageError(f"there is no optimiser {name!r}; give one of {', '.join(sorted(OPTIMISERS))}")
    if name == "adam" and momentum:
        raise UsageError(f"optimiser 'adam' has its own moments, got momentum {momentum}; leave momentum out")
    return OPTIMISERS[name](list(parameters), learning_rate, momentum)
