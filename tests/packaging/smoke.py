"""Does an installed tinyresnet work here? Run by an environment that holds the package and NumPy, and nothing else:

    cd SOMEWHERE_ELSE && PYTHON -P smoke.py

`-P` keeps this folder off the import path. Exits 0 and prints one line, or ends with an AssertionError that says what is wrong.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from importlib import metadata, resources


def foreign_modules(before: set[str]) -> list[str]:
    """Top-level modules imported since `before` that belong neither to Python, nor to NumPy, nor to us."""
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    ours = {"tinyresnet", "numpy", "__mp_main__"}
    # The finder of an editable install is a module of its own; a built package has none.
    return sorted(name for name in new - ours - set(sys.stdlib_module_names) if not name.startswith("__editable__"))


def check_import() -> None:
    importlib.import_module("numpy.random")  # first: it brings nameless helpers of its own
    before = set(sys.modules)
    import tinyresnet
    import tinyresnet.gradcheck
    import tinyresnet.kernels.cpu
    import tinyresnet.kernels.cuda
    import tinyresnet.ops
    import tinyresnet.resnet_v2

    foreign = foreign_modules(before)
    assert not foreign, f"import tinyresnet also imports {', '.join(foreign)}"
    installed, said = metadata.version("tinyresnet"), tinyresnet.__version__
    assert installed == said, f"the package says version {said}, its metadata {installed}"


def check_names() -> None:
    assert importlib.util.find_spec("kernels") is None, "a top-level package `kernels` can be imported"
    files = [str(path) for path in metadata.files("tinyresnet") or []]
    strangers = [path for path in files if not path.startswith(("tinyresnet/", "tinyresnet-", "../"))]
    assert not strangers, f"installed outside tinyresnet/: {strangers}"


def check_files() -> None:
    from tinyresnet.data import fashion_mnist

    train_images, train_labels, test_images, test_labels = fashion_mnist()
    assert train_images.shape == (6000, 28, 28, 1), f"train images {train_images.shape}"
    assert test_images.shape == (1000, 28, 28, 1), f"test images {test_images.shape}"
    assert train_labels.shape == (6000,) and test_labels.shape == (1000,)
    data = resources.files("tinyresnet.data")
    notices = [file.read_text("utf-8") for file in data.iterdir() if file.name.endswith(".txt")]
    assert any("MIT License" in text and "Zalando" in text for text in notices), "the data's MIT notice is missing"
    for name, file in (("data", "digits.csv.gz"), ("training", "recipes/digits.toml"), ("report", "style.css")):
        assert resources.files(f"tinyresnet.{name}").joinpath(file).is_file(), f"{name}/{file} is missing"
    assert resources.files("tinyresnet").joinpath("py.typed").is_file(), "py.typed is missing"
    licenses = {path.name for path in metadata.files("tinyresnet") or [] if "licenses" in path.parts}
    assert {"LICENSE", "NOTICE"} <= licenses, f"licence files installed: {sorted(licenses)}"


def check_forward_and_back() -> str:
    import numpy as np

    import tinyresnet
    from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block

    blocks = [resnet_v2_block("block1", base_depth=4, num_units=2, stride=2)]
    images = np.random.default_rng(0).standard_normal((2, 33, 33, 3), dtype=np.float32)
    variables = tinyresnet.Variables(seed=0)
    logits, _, back = resnet_v2(images, blocks, num_classes=10, variables=variables)
    assert logits.shape == (2, 10) and logits.dtype == np.float32, f"logits {logits.shape} {logits.dtype}"
    assert np.isfinite(logits).all(), "logits are not finite"
    d_images = back(np.random.default_rng(1).standard_normal(logits.shape, dtype=np.float32))
    assert d_images.shape == images.shape and np.abs(d_images).max() > 0, "the gradient of the images is missing"
    assert set(variables.gradients) == set(variables.trainable), "some variable got no gradient"
    return f"logits {logits.shape}"


def check_command() -> None:
    ran = subprocess.run([sys.executable, "-P", "-m", "tinyresnet", "gradcheck"], capture_output=True, text=True)
    assert ran.returncode == 0, f"tinyresnet gradcheck exited {ran.returncode}:\n{ran.stdout}{ran.stderr}"


def main() -> None:
    check_import()
    check_names()
    check_files()
    shapes = check_forward_and_back()
    check_command()
    python = ".".join(map(str, sys.version_info[:3]))
    print(f"smoke test passed: Python {python}, NumPy {metadata.version('numpy')}, {shapes}, gradient table")


if __name__ == "__main__":
    main()
