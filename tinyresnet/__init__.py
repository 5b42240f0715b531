"""ResNet v2 in NumPy: every forward and every backward written by hand, checked against TF-Slim and PyTorch.

    import numpy, tinyresnet
    from tinyresnet.resnet_v2 import resnet_v2_50
    logits, end_points, back = resnet_v2_50(images, num_classes=1000, variables=variables)
    back(d_logits)                      # fills variables.gradients

Needs NumPy and nothing else.
"""

from .backend import (
    BackendUnavailable,
    EndedUseWarning,
    carry,
    get_array_module,
    get_backend,
    set_backend,
    to_device,
    to_host,
    use,
    use_backend,
)
from .frozen import freeze, load_frozen
from .gradcheck import check_gradients
from .slim import Variables, watch

__version__ = "0.4.0"

__all__ = [
    "BackendUnavailable",
    "EndedUseWarning",
    "Variables",
    "__version__",
    "carry",
    "check_gradients",
    "freeze",
    "get_array_module",
    "get_backend",
    "load_frozen",
    "set_backend",
    "to_device",
    "to_host",
    "use",
    "use_backend",
    "watch",
]
