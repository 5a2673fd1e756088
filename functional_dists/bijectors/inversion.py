"""The inverse of a bijector, as a bijector."""

from typing import Any

from functional_dists.bijectors.derived import make_verbs
from functional_dists.bijectors.structure import event_dims_of, require_bijector
from functional_dists.family import combinator, define, made_by, name_of

__all__ = ["invert"]


@combinator
def invert(bijector: Any) -> Any:
    """Return the bijector whose `forward` is the `inverse` of another one.

    Args:
        bijector: A bijector. The inverse of an inverse is the bijector itself.

    Returns:
        A bijector with the same parameters.

    Raises:
        TypeError: the argument is no bijector.

    >>> import torch
    >>> from functional_dists.bijectors import exp
    >>> invert(exp).forward(torch.ones(2)), invert(invert(exp)) is exp
    (tensor([0., 0.]), True)
    """
    require_bijector("invert", bijector)
    function, arguments = made_by(bijector)
    if function == "invert":
        return arguments[0]
    of_params = {
        "domain": lambda params: bijector.image(*params),
        "image": lambda params: bijector.domain(*params),
    }
    if hasattr(bijector, "is_increasing"):
        of_params["is_increasing"] = lambda params: bijector.is_increasing(*params)
    return make_verbs(
        define(bijector.Params, f"invert({name_of(bijector)})"),
        event_dims_of(bijector),
        of_value={
            "forward": lambda params, value: bijector.inverse(*params, value),
            "inverse": lambda params, value: bijector.forward(*params, value),
            "forward_log_det": lambda params, value: bijector.inverse_log_det(*params, value),
            "inverse_log_det": lambda params, value: bijector.forward_log_det(*params, value),
            "forward_and_log_det": lambda params, value: (
                bijector.inverse(*params, value),
                bijector.inverse_log_det(*params, value),
            ),
        },
        of_params=of_params,
        parts_check_shapes=True,
    )
