"""What is installed: a wheel with interp_steer alone and whole, which imports in a blink."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest

import interp_steer

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "transformer_lens", "numpy", "polars", "sklearn")
"""What takes seconds to import, all together."""


@dataclass(frozen=True)
class Built:
    """What ``python -m build`` leaves: the wheel is made from the sdist."""

    wheel: Path
    sdist: Path

    @property
    def in_wheel(self) -> set[str]:
        return set(zipfile.ZipFile(self.wheel).namelist())

    @property
    def in_sdist(self) -> set[str]:
        """Without the folder that all is in."""
        with tarfile.open(self.sdist) as opened:
            return {member.name.partition("/")[2] for member in opened if member.isfile()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel in it, its dependencies lent by this one."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(built.wheel)], check=True)
    [own] = folder.glob("lib/python*/site-packages")
    # A folder named in a .pth is looked into after this one, and what .pth files *it* holds, such
    # as that of an editable install, is not followed.
    lent = [path for path in sys.path if path.endswith("site-packages")]
    (own / "lent.pth").write_text("\n".join(lent) + "\n")
    return python


def ran(python: Path | str, code: str, where: Path) -> str:
    """What a program prints, in a folder that has nothing to import."""
    done = subprocess.run(
        [str(python), "-I", "-c", code], cwd=where, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_holds_the_package_alone_and_whole(built: Built) -> None:
    meant = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "interp_steer").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".part"
    }
    said = f"interp_steer-{interp_steer.__version__}.dist-info"
    assert {name for name in built.in_wheel if not name.startswith(said)} == meant
    assert any(name.endswith("LICENSE") for name in built.in_wheel)
    assert "interp_steer/py.typed" in meant


def test_the_sdist_holds_what_the_wheel_is_made_from(built: Built) -> None:
    code = {name for name in built.in_wheel if name.startswith("interp_steer/")}
    assert {name for name in built.in_sdist if name.startswith("interp_steer/")} == code
    beside = {name for name in built.in_sdist if not name.startswith("interp_steer/")}
    needed = {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"}
    assert needed <= beside <= needed | {"CHANGELOG.md", "CITATION.cff", ".gitignore"}


def test_the_metadata_are_those_of_the_project(built: Built) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    [name] = (name for name in built.in_wheel if name.endswith(".dist-info/METADATA"))
    said = Parser().parsestr(zipfile.ZipFile(built.wheel).read(name).decode())
    assert said["Name"] == "interp_steer" and said["Version"] == interp_steer.__version__
    assert said["Requires-Python"] == project["requires-python"] and said["License-Expression"]
    required = {text.replace(" ", "") for text in said.get_all("Requires-Dist", [])}
    plain = {text.replace("_", "-").lower() for text in required if ";" not in text}
    assert plain == {text.replace("_", "-").lower() for text in project["dependencies"]}
    assert set(said.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])


def test_the_bundled_models_load_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = """
import json
import interp_steer as ist
from interp_steer.models import BUNDLED_NAMES, bundled_path
models = {name: ist.load(name, device="cpu") for name in BUNDLED_NAMES}
print(json.dumps({
    "from": ist.__file__,
    "weights": [str(bundled_path(name)) for name in BUNDLED_NAMES],
    "layers": [model.n_layers for model in models.values()],
    "answer": ist.generate(models["burattino-instruct"], ["Hello."], max_new_tokens=4)[0].text,
}))
"""
    found = json.loads(ran(installed, code, tmp_path).splitlines()[-1])
    home = installed.parents[1]
    for path in (found["from"], *found["weights"]):
        assert Path(path).is_relative_to(home)
    assert len(found["layers"]) >= 3 and all(found["layers"]) and found["answer"]


def imported(python: Path | str, code: str, where: Path) -> list[str]:
    """Which of :data:`HEAVY` are imported after some code."""
    known = f"import sys\n{code}\nprint([name for name in {HEAVY} if name in sys.modules])"
    return json.loads(ran(python, known, where).splitlines()[-1].replace("'", '"'))


def test_importing_it_imports_nothing_heavy(installed: Path, tmp_path: Path) -> None:
    assert imported(installed, "import interp_steer", tmp_path) == []
    assert imported(installed, "import interp_steer\ndir(interp_steer)", tmp_path) == []
    # It is there when it is used.
    used = "import interp_steer\ninterp_steer.Site('z', 0), interp_steer.SteeringVector"
    assert "torch" in imported(installed, used, tmp_path)


@pytest.mark.parametrize(
    "module, arguments, path",
    [
        ("interp_steer.harness", ["--help"], None),
        ("interp_steer.harness", ["run", "--help"], None),
        ("analyses", [], ROOT),
    ],
    ids=["the harness", "a command of the harness", "the list of analyses"],
)
def test_help_imports_nothing_heavy(
    module: str, arguments: list[str], path: Path | None, installed: Path, tmp_path: Path
) -> None:
    """The harness's own line of commands takes numpy, a tenth of a second of it."""
    code = f"""
import runpy
sys.path += {[str(path)] if path else []}
sys.argv = [{module!r}, *{arguments}]
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
"""
    of_others = {"numpy"} if module == "interp_steer.harness" else set[str]()
    assert set(imported(installed, code, tmp_path)) <= of_others
