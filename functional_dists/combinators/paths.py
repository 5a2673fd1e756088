"""Pathwise derivatives of values that were drawn without them: a value moves so that its cdf stays constant."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from functional_dists.combinators.components import Components
from functional_dists.special import search

__all__ = ["moved_with_cdf"]


def moved_with_cdf(components: Components, params: Any, value: Tensor) -> Tensor:
    """Return a drawn value of a mixture, with its first and second derivatives by the parameters.

    The elements of an event are independent in each component. So the weights given the elements before one are those
    of the mixture, times the densities of these elements. The conditional cdf of an element stays constant. Two steps
    of Newton's method with the slope held fixed have the first and second derivatives of the root.
    """
    weights = log_softmax(params[0], -1)
    num_axes = components.values.event_dims
    if num_axes == 0:
        return _moved(components, params, weights, value)[0]
    moved = []
    elements = value.flatten(-num_axes).unbind(-1)
    for element, own in zip(elements, components.by_element(params), strict=True):
        x, scores = _moved(components.of_elements, own, weights, element)
        weights = weights + scores
        moved.append(x)
    return torch.stack(moved, -1).reshape(value.shape)


def _moved(components: Components, params: Any, weights: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return one element of the value with its derivatives, and the log-densities of the components there."""
    weights = log_softmax(weights, -1)
    options = {"event_dims": 0}

    def scores(x: Tensor) -> Tensor:
        return components.apply("log_prob", params, x, **options)

    def tails(x: Tensor) -> tuple[Tensor, Tensor]:
        below, above = (components.apply(name, params, x) for name in ("cdf", "survival"))
        return (weights.exp() * below).sum(-1), (weights.exp() * above).sum(-1)

    slope = search.log_sum_of_exps(weights + scores(value)).detach().exp()
    slope = torch.where(slope > 0, slope, 1.0)
    x = value
    is_upper = None
    for _ in range(2):
        below, above = tails(x)
        if is_upper is None:
            is_upper, start = below.detach() > above.detach(), (below.detach(), above.detach())
        # The sum over the smaller tail: the derivatives of the weights cancel in the other one.
        x = x - torch.where(is_upper, start[1] - above, below - start[0]) / slope
    return x, scores(x)
