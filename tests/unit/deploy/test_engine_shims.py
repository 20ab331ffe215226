"""Shows what the shims do to imports, each in an interpreter of its own; the engines themselves are not needed."""

import subprocess
import sys
import tomllib
from pathlib import Path

ENGINES = Path(__file__).parents[3] / "deploy" / "lab" / "engines"


def run(code: str, folder: Path) -> str:
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": f"{ENGINES}:{folder}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_action_runs_once_before_the_module(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("print('module')")
    code = """
from shims.import_hooks import before_import
before_import("late", lambda: print("action"))
print("armed")
import late
import sys; del sys.modules["late"]
import late
"""
    assert run(code, tmp_path).split() == ["armed", "action", "module", "module"]


def test_kernels_can_be_imported_and_not_called(tmp_path: Path) -> None:
    code = """
from shims import kernel_stub
kernel_stub.install()
from sgl_kernel import fused_add_rmsnorm
from sgl_kernel.flash_attn import flash_attn_varlen_func
try:
    flash_attn_varlen_func()
except NotImplementedError as error:
    print(error)
"""
    assert "sgl_kernel.flash_attn.flash_attn_varlen_func" in run(code, tmp_path)


def test_kernels_that_an_engine_asks_for_first_are_absent_also_when_a_copy_for_cuda_is_installed(
    tmp_path: Path,
) -> None:
    (tmp_path / "sgl_kernel").mkdir()
    (tmp_path / "sgl_kernel" / "__init__.py").write_text("raise ImportError('no CUDA here')")
    (tmp_path / "sgl_kernel" / "scalar_type.py").touch()
    code = """
from shims import kernel_stub
kernel_stub.install()
import sgl_kernel
try:
    import sgl_kernel.scalar_type
except ImportError as error:
    print("absent:", error.name)
"""
    assert run(code, tmp_path) == "absent: sgl_kernel.scalar_type\n"


def test_arming_imports_no_engine_and_no_torch(tmp_path: Path) -> None:
    code = "import shims, sys; shims.activate('ktransformers'); print({'torch', 'sglang', 'sgl_kernel'} & set(sys.modules))"
    assert run(code, tmp_path) == "set()\n"


def test_every_shim_counts_in_the_recipes_digest() -> None:
    shims = {f"shims/{path.name}" for path in (ENGINES / "shims").glob("*.py")}
    for name in ("sglang", "ktransformers"):
        recipe = tomllib.loads((ENGINES / f"{name}.toml").read_text())
        assert shims <= set(recipe["files"])
