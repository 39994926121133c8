"""BatchNorm statistics taken anew, for weights that did not train as they are: averaged, or cut from a parent."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def restate_batch_norm(model: nn.Module, batches_BCHW: Iterable[Tensor]) -> None:
    """Set the statistics of every BatchNorm to their plain mean over normalised batches of similar size.

    Mode and momentum of the model are restored.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta, training = [norm.momentum for norm in norms], model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    model.train()
    for batch_BCHW in batches_BCHW:
        model(batch_BCHW)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(training)
