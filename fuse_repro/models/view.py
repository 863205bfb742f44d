"""A model that only reads: the user's weights in eval mode, without gradients, and the user's model as it was."""

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

from fuse_repro.errors import UsageError, first_line, require

Module = TypeVar("Module", bound=nn.Module)
MARK = "_only_reads"
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def reading_view(model: Module) -> Module:
    """The same model in other module objects, which share the memory of all weights with it.

    The view is in eval mode, its parameters take no gradients, and what is done to it (hooks, another mode, another
    device) is not done to the model. Weights that are changed in place, as optimisers do, change in the view, too.

    Args:
        model: any module; a view is given back as it is.

    Raises:
        UsageError: no model, or one that cannot be copied and is not frozen already.
    """
    given = "a model that is loaded, as transformers' from_pretrained gives it"
    require(isinstance(model, nn.Module), "model", model, given)
    if MARK in model.__dict__:
        return model
    try:
        view = copy.deepcopy(model, _shared(model))
    except Exception as error:  # whatever an attribute of a foreign class says of being copied
        if is_frozen(model):
            return model
        raise UsageError(
            f"{type(model).__name__} cannot be read without changing it ({first_line(error)}): freeze it first, with "
            "model.eval().requires_grad_(False)"
        ) from error
    view.__dict__[MARK] = True
    return view.eval()


def is_frozen(model: nn.Module) -> bool:
    """Whether the model is in eval mode throughout, and no parameter takes a gradient."""
    learns = any(parameter.requires_grad for parameter in model.parameters())
    return not learns and not any(module.training for module in model.modules())


def _shared(model: nn.Module) -> dict[int, Any]:
    """What a copy takes in place of the objects of these ids: weights in the same memory, and hooks as they are."""
    shared: dict[int, Any] = {id(parameter): _without_gradient(parameter) for parameter in model.parameters()}
    shared |= {id(buffer): buffer for buffer in model.buffers()}
    for module in model.modules():
        for kind in HOOKS:
            shared |= {id(hook): hook for hook in module.__dict__.get(kind, {}).values()}
    return shared


def _without_gradient(parameter: nn.Parameter) -> Tensor:
    """The values of a parameter in a parameter of their own; one of a class of its own (quantised) as it is."""
    if type(parameter) is not nn.Parameter:
        return parameter
    return nn.Parameter(parameter.detach(), requires_grad=False)
