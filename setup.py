"""Package metadata. Everything else about the tools stands in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """The version as text in tinyresnet/__init__.py: importing the package would need NumPy, which a build environment lacks."""
    source = (ROOT / "tinyresnet" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise RuntimeError('tinyresnet/__init__.py has no line of the form __version__ = "1.2.3"')
    return found.group(1)


NUMBA = ["numba>=0.61"]
TRAIN = ["safetensors>=0.4", "tqdm>=4.66", "pillow>=10", "threadpoolctl>=3"]
PLOT = ["matplotlib>=3.9"]
# One version of PyTorch, as in the published numbers.
BENCH = ["torch==2.13.0", "onnx>=1.17", "onnxruntime>=1.20", "openvino>=2025.0", "threadpoolctl>=3", *NUMBA, *PLOT]
NOTEBOOKS = ["jupyterlab>=4.2", "jupytext>=1.16", "nbconvert>=7.16", "ipykernel>=6.29", *NUMBA, *TRAIN, *PLOT]
DOCS = ["markdown-it-py>=3", "pygments>=2.17", *PLOT]
TEST = [
    "pytest>=8",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "build>=1.2",
    "setuptools>=77",
    # Plain, without the CUDA toolkit: the tests read its signatures and need no GPU for that. There is none for macOS.
    'cupy-cuda13x>=14; sys_platform != "darwin"',
    *NUMBA,
    *TRAIN,
    *NOTEBOOKS,
    *DOCS,
    *BENCH,
]
DEV = ["ruff>=0.12", "mypy>=1.16", *TEST]

EXTRAS = {
    "numba": NUMBA,
    "train": TRAIN,
    "plot": PLOT,
    # One of these two, the one of the machine's driver. Two CuPy packages in one environment overwrite each other.
    "cuda12": ["cupy-cuda12x[ctk]>=14"],
    "cuda13": ["cupy-cuda13x[ctk]>=14"],
    "notebooks": NOTEBOOKS,
    "docs": DOCS,
    "bench": BENCH,
    "test": TEST,
    "dev": DEV,
    # Whatever can stand in one environment on every machine, hence neither cuda12 nor cuda13.
    "all": list(dict.fromkeys([*NOTEBOOKS, *DOCS, *DEV])),
}

setup(
    name="tinyresnet",
    version=read_version(),
    description="ResNet v2 written by hand in NumPy, forward and backward, beside TF-Slim's names and checked against PyTorch",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The tinyresnet authors",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    keywords=["resnet", "numpy", "backpropagation", "gradient check", "education"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    install_requires=["numpy>=2.0"],
    extras_require=EXTRAS,
    # kernels/ stands at the top level of the repository and is installed as tinyresnet.kernels, never as `kernels`.
    package_dir={"tinyresnet.kernels": "kernels"},
    packages=[
        *find_packages(include=["tinyresnet", "tinyresnet.*"]),
        "tinyresnet.kernels",
        *(f"tinyresnet.kernels.{name}" for name in find_packages("kernels")),
    ],
    package_data={
        "tinyresnet": ["py.typed"],
        "tinyresnet.data": ["*.npz", "*.csv.gz", "*.txt"],
        "tinyresnet.report": ["*.css", "*.js"],
        "tinyresnet.training": ["recipes/*.toml"],
        "tinyresnet.kernels.cuda": ["*.cu", "*.cuh"],
    },
    entry_points={"console_scripts": ["tinyresnet = tinyresnet.cli:main"]},
    zip_safe=False,
)
