"""How each measured verb of the package is called: elementwise, with the arguments in the order of the reference."""

from collections.abc import Callable

from torch import Tensor

from functional_dists import normal, tanh_normal

from . import reference

Call = Callable[..., Tensor]


def elementwise(verb: Call) -> Call:
    return lambda *arguments: verb(*arguments, event_dims=0)


def divergence(family) -> Call:
    return lambda p_loc, p_scale, q_loc, q_scale: family.kl(
        family.Params(p_loc, p_scale), family.Params(q_loc, q_scale), event_dims=0
    )


CALLS: dict[str, Call] = {
    "normal.log_prob": elementwise(normal.log_prob),
    **{f"normal.{verb}": getattr(normal, verb) for verb in reference.TAIL_VERBS},
    "normal.icdf": normal.icdf,
    "normal.kl": divergence(normal),
    "normal.entropy": elementwise(normal.entropy),
    "tanh_normal.log_prob": elementwise(tanh_normal.log_prob),
    "tanh_normal.log_prob_near_loc": elementwise(tanh_normal.log_prob),
    "tanh_normal.log_prob_pretanh": elementwise(tanh_normal.log_prob_pretanh),
    "tanh_normal.squash": tanh_normal.squash,
    "tanh_normal.unsquash": tanh_normal.unsquash,
    "tanh_normal.mode": tanh_normal.mode,
    "tanh_normal.median": tanh_normal.median,
    "tanh_normal.mean": tanh_normal.mean,
    "tanh_normal.variance": tanh_normal.variance,
    "tanh_normal.entropy": elementwise(tanh_normal.entropy),
    **{f"tanh_normal.{verb}": getattr(tanh_normal, verb) for verb in reference.TAIL_VERBS},
    "tanh_normal.icdf": tanh_normal.icdf,
    "tanh_normal.kl": divergence(tanh_normal),
}
