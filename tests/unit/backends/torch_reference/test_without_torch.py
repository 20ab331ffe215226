"""What the engine's tests and tools may import where torch is not installed."""

import subprocess
import sys

MODULES = ("detokenizer", "metrics", "process", "server", "stop_strings", "tool_calls", "worker")


def test_modules_need_no_torch() -> None:
    absent = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'transformers', 'tokenizers', 'jinja2', 'gateway']))"
    )
    imports = "; ".join(f"import backends.torch_reference.engine.{name}" for name in MODULES)
    subprocess.run([sys.executable, "-c", f"{absent}; {imports}"], check=True, timeout=60)
