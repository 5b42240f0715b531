"""The wheel and the sdist, each built from a copy of the tree, installed into an empty environment and put to use there.

Nothing is downloaded: NumPy is copied over from the environment that runs the tests, and setuptools builds without isolation.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMOKE = Path(__file__).with_name("smoke.py")
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "site")

pytestmark = [pytest.mark.slow, pytest.mark.host_only]


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = ("PYTHON", "TINYRESNET")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, env={**clean, **environment}, capture_output=True, text=True)


def run_well(*command: object, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def build(source: Path, dist: Path, *kinds: str) -> None:
    run_well(sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", dist, source, cwd=source.parent)


@pytest.fixture(scope="module")
def wheel_and_sdist(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pytest.importorskip("build", reason="the package `build` is not installed")
    scratch = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, scratch / "tree", ignore=NOT_SOURCE)
    build(scratch / "tree", scratch, "--wheel", "--sdist")
    (wheel,), (sdist,) = scratch.glob("*.whl"), scratch.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def wheel_from_sdist(wheel_and_sdist: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install tinyresnet-x.y.z.tar.gz` builds: pip makes a wheel of the sdist, then installs that."""
    scratch = tmp_path_factory.mktemp("from-sdist")
    with tarfile.open(wheel_and_sdist[1]) as archive:
        archive.extractall(scratch, filter="data")
    (source,) = (path for path in scratch.iterdir() if path.is_dir())
    build(source, scratch / "dist", "--wheel")
    (wheel,) = (scratch / "dist").glob("*.whl")
    return wheel


class Environment:
    """A virtual environment that holds NumPy and one wheel, and an empty folder to run in."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        venv.create(folder / "venv", with_pip=True)
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.empty = folder / "empty"
        self.empty.mkdir()
        site = run_well(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=self.empty)
        self.site_packages = Path(site.strip())
        copy_numpy(self.site_packages)
        run_well(self.python, "-m", "pip", "install", "--no-index", "--no-deps", wheel, cwd=self.empty)

    @property
    def python(self) -> Path:
        return self.bin / "python"

    def smoke(self, shadow: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the smoke test; the modules in the folder `shadow` come first."""
        extra = {} if shadow is None else {"PYTHONPATH": str(shadow)}
        return run(self.python, "-P", SMOKE, cwd=self.empty, **extra)


def copy_numpy(site_packages: Path) -> None:
    spec = importlib.util.find_spec("numpy")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).parents[1]
    version = importlib.metadata.version("numpy")
    for name in ["numpy", "numpy.libs", f"numpy-{version}.dist-info"]:
        if (source / name).exists():
            shutil.copytree(source / name, site_packages / name, ignore=shutil.ignore_patterns("tests", "__pycache__"))


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    if request.param == "wheel":
        wheel = request.getfixturevalue("wheel_and_sdist")[0]
    else:
        wheel = request.getfixturevalue("wheel_from_sdist")
    return Environment(tmp_path_factory.mktemp(request.param), wheel)


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_every_source_file_and_no_other(wheel_and_sdist: tuple[Path, Path]) -> None:
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tinyresnet").rglob("*.py")}
    kernels = {f"tinyresnet/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "kernels").rglob("*.py")}
    held = names(wheel_and_sdist[0])
    assert {name for name in held if name.endswith(".py")} == code | kernels
    assert {PurePosixPath(name).parts[0].partition("-")[0] for name in held} == {"tinyresnet"}
    others = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tinyresnet").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert {"tinyresnet/py.typed", "tinyresnet/data/digits.csv.gz", "tinyresnet/training/recipes/digits.toml"} <= others
    assert others <= held, f"left out: {others - held}"


def test_sdist_builds_the_same_wheel(wheel_and_sdist: tuple[Path, Path], wheel_from_sdist: Path) -> None:
    assert names(wheel_from_sdist) == names(wheel_and_sdist[0])


def test_sdist_holds_what_a_reader_and_a_contributor_need(wheel_and_sdist: tuple[Path, Path]) -> None:
    with tarfile.open(wheel_and_sdist[1]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    top = "LICENSE NOTICE CHANGELOG.md CONTRIBUTING.md README.md README.zh-CN.md Makefile pyproject.toml setup.py"
    below = "kernels/cpu/__init__.py tests/conftest.py tests/packaging/smoke.py docs/design.md notebooks/README.md"
    assert not {*top.split(), *below.split()} - held
    assert not [name for name in held if name.endswith((".pyc", ".DS_Store")) or "__pycache__" in name]


def test_smoke(installed: Environment) -> None:
    ran = installed.smoke()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "smoke test passed" in ran.stdout
    run_well(installed.python, "-m", "pip", "check", cwd=installed.empty)


def test_commands(installed: Environment) -> None:
    command = installed.bin / "tinyresnet"
    table = run_well(command, "gradcheck", cwd=installed.empty)
    for op in ["conv2d", "batch_norm", "max_pool2d", "softmax_cross_entropy"]:
        assert op in table

    demo = run(command, "demo", cwd=installed.empty)
    assert demo.returncode == 2, f"exited {demo.returncode}:\n{demo.stdout}{demo.stderr}"
    assert "pip install" in demo.stderr and "tinyresnet[" in demo.stderr
    assert "Traceback" not in demo.stderr
    assert not list(installed.empty.iterdir()), "a command that could not run left something behind"


def plant_import(shadow: Path, installed: Environment) -> None:
    shutil.copytree(installed.site_packages / "tinyresnet", shadow / "tinyresnet")
    (shadow / "matplotlib.py").write_text("")
    with (shadow / "tinyresnet" / "__init__.py").open("a") as module:
        module.write("\nimport matplotlib\n")


def plant_top_level_kernels(shadow: Path, installed: Environment) -> None:
    shutil.copytree(installed.site_packages / "tinyresnet" / "kernels", shadow / "kernels")


def plant_missing_notice(shadow: Path, installed: Environment) -> None:
    no_text = shutil.ignore_patterns("*.txt")
    shutil.copytree(installed.site_packages / "tinyresnet", shadow / "tinyresnet", ignore=no_text)


def plant_version(shadow: Path, installed: Environment) -> None:
    shutil.copytree(installed.site_packages / "tinyresnet", shadow / "tinyresnet")
    with (shadow / "tinyresnet" / "__init__.py").open("a") as module:
        module.write('\n__version__ = "9.9"\n')


@pytest.mark.parametrize("installed", ["wheel"], indirect=True)
@pytest.mark.parametrize(
    ("plant", "complaint"),
    [
        (plant_import, "also imports matplotlib"),
        (plant_top_level_kernels, "top-level package `kernels`"),
        (plant_missing_notice, "MIT notice is missing"),
        (plant_version, "says version 9.9"),
    ],
)
def test_smoke_catches(installed: Environment, tmp_path: Path, plant, complaint: str) -> None:
    plant(tmp_path, installed)
    ran = installed.smoke(shadow=tmp_path)
    assert ran.returncode == 1
    assert complaint in ran.stderr
