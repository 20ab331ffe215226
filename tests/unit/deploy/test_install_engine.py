"""Shows that the engine installer builds once, says what went wrong and clears what was left behind; installs no package."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

INSTALLER = Path(__file__).parents[3] / "deploy" / "lab" / "engines" / "install.py"
REAL_RECIPES = INSTALLER.parent
RECIPE = """
name = "toy"
version = "1.0"
tested_python = "3.11"
disk_gib = {disk_gib}
files = ["toy.txt"]

[[steps]]
title = "count"
python = ["step.py"]
limit_minutes = {limit_minutes}
"""
# A step leaves one line for every time it ran.
COUNT = "from pathlib import Path\nwith (Path(__file__).parent / 'ran').open('a') as ran: ran.write('x\\n')\n"
# A step that stops until the test lets it go on, so that a race needs no luck.
GATED = COUNT + "print('at the gate', flush=True)\nopen(Path(__file__).parent / 'gate').read()\n"


class Toy:
    """An engine without packages, in folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.recipes = folder / "recipes"
        self.recipes.mkdir()
        self.engines = folder / "engines"
        self.home = self.engines / "toy-1.0"
        self.marker = self.home / ".moegate-installed"
        self.write(COUNT)

    def write(self, step: str, *, disk_gib: float = 0, limit_minutes: float = 5, pins: str = "a==1\n") -> None:
        (self.recipes / "toy.toml").write_text(RECIPE.format(disk_gib=disk_gib, limit_minutes=limit_minutes))
        (self.recipes / "toy.txt").write_text(pins)
        (self.recipes / "step.py").write_text(step)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(INSTALLER), *(words or ("toy",)), "--recipes", str(self.recipes)],
            env={**os.environ, "MOEGATE_ENGINES_DIR": str(self.engines)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    @property
    def times_run(self) -> int:
        ran = self.recipes / "ran"
        return len(ran.read_text().splitlines()) if ran.exists() else 0


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)  # another process is awaited: there is no clock to fake


def test_a_fresh_install_leaves_a_working_interpreter_and_its_marker(toy: Toy) -> None:
    code, out, err = toy.run()
    assert (code, err) == (0, "")
    assert "step 2/2: count" in out
    assert toy.marker.is_file()
    assert not (toy.home / ".moegate-building").exists()
    prefix = subprocess.check_output([toy.home / "bin" / "python", "-c", "import sys; print(sys.prefix)"], text=True)
    assert Path(prefix.strip()) == toy.home


def test_a_second_call_does_nothing(toy: Toy) -> None:
    toy.run()
    before = toy.marker.stat().st_mtime_ns
    code, out, _ = toy.run()
    assert code == 0
    assert "already installed" in out
    assert (toy.times_run, toy.marker.stat().st_mtime_ns) == (1, before)


def test_of_two_racing_installs_one_builds_and_both_succeed(toy: Toy) -> None:
    toy.write(GATED)
    gate = toy.recipes / "gate"
    os.mkfifo(gate)
    with toy.start() as first:
        wait_until(lambda: toy.times_run == 1, "the first install never reached its step")
        with toy.start() as second:
            assert second.stdout is not None
            assert "waiting for it" in second.stdout.readline()
            gate.write_text("go on")
            out = second.communicate(timeout=60)[0]
        first.communicate(timeout=60)
    assert (first.returncode, second.returncode, toy.times_run) == (0, 0, 1)
    assert "installed meanwhile" in out


def test_waiting_for_another_install_has_an_end(toy: Toy) -> None:
    toy.write(GATED)
    os.mkfifo(toy.recipes / "gate")
    with toy.start() as first:
        wait_until(lambda: toy.times_run == 1, "the first install never reached its step")
        code, _, err = toy.run("toy", "--wait-minutes", "0.001")
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
    assert (code, first.returncode) == (4, 130)
    assert "has not finished" in err


def test_an_install_that_was_killed_keeps_others_out_until_its_step_has_ended(toy: Toy) -> None:
    toy.write(GATED)
    gate = toy.recipes / "gate"
    os.mkfifo(gate)
    with toy.start() as first:
        wait_until(lambda: toy.times_run == 1, "the first install never reached its step")
        first.kill()
    with toy.start() as second:
        assert second.stdout is not None
        assert "waiting for it" in second.stdout.readline()
        gate.write_text("go on")
        wait_until(lambda: toy.times_run == 2, "the second install never reached its step")
        gate.write_text("go on")
        out = second.communicate(timeout=60)[0]
    assert second.returncode == 0
    assert "removing an unfinished install" in out


def test_a_half_finished_environment_is_rebuilt(toy: Toy) -> None:
    toy.run()
    toy.marker.unlink()
    (toy.home / "leftover").touch()
    (toy.home / ".moegate-building").touch()
    code, out, _ = toy.run()
    assert code == 0
    assert "removing an unfinished install" in out
    assert toy.marker.is_file()
    assert not (toy.home / "leftover").exists()


@pytest.mark.parametrize("marker", ["", "[]", "{}", "not json"])
def test_a_damaged_marker_counts_as_none(toy: Toy, marker: str) -> None:
    toy.run()
    toy.marker.write_text(marker)
    assert toy.run()[0] == 0
    assert toy.times_run == 2


def test_a_changed_pin_rebuilds(toy: Toy) -> None:
    toy.run()
    toy.write(COUNT, pins="a==2\n")
    assert toy.run("toy", "--print-python")[0] == 5
    code, out, _ = toy.run()
    assert (code, toy.times_run) == (0, 2)
    assert "recipe has changed" in out


def test_a_failing_step_ends_with_its_code_and_the_end_of_the_log(toy: Toy) -> None:
    toy.write("print('about to break'); raise SystemExit('the wheel is square')")
    code, _, err = toy.run()
    assert code == 1
    assert "count: ended with 1" in err
    assert "about to break" in err
    assert "the wheel is square" in err
    assert not toy.marker.exists()
    toy.write(COUNT)
    assert toy.run()[0] == 0


def test_a_step_that_hangs_is_ended(toy: Toy) -> None:
    toy.write("import time\nprint('hanging', flush=True)\ntime.sleep(600)", limit_minutes=0.02)
    code, _, err = toy.run()
    assert code == 1
    assert "not done after 1 s" in err


def test_too_small_a_disk_is_said_before_anything_is_built(toy: Toy) -> None:
    toy.write(COUNT, disk_gib=10_000_000)
    code, _, err = toy.run()
    assert code == 3
    assert "GiB free" in err
    assert "MOEGATE_ENGINES_DIR" in err
    assert not toy.home.exists()


def test_a_folder_that_is_not_ours_is_left_alone(toy: Toy) -> None:
    toy.home.mkdir(parents=True)
    (toy.home / "thesis.txt").write_text("years of work")
    code, _, err = toy.run()
    assert code == 2
    assert "was not made by this installer" in err
    assert (toy.home / "thesis.txt").read_text() == "years of work"


def test_print_python_says_where_and_installs_nothing(toy: Toy) -> None:
    code, out, err = toy.run("toy", "--print-python")
    assert (code, out, toy.times_run) == (5, "", 0)
    assert "not installed" in err
    toy.run()
    assert toy.run("toy", "--print-python") == (0, f"{toy.home / 'bin' / 'python'}\n", "")


def test_an_unknown_engine_names_the_nearest(toy: Toy) -> None:
    code, _, err = toy.run("tyo")
    assert code == 2
    assert "did you mean 'toy'" in err


@pytest.mark.parametrize(
    ("recipe", "complaint"),
    [
        ("name = 'toy'", "'version' is missing"),
        ("name = ", "toy.toml: "),
        (RECIPE.format(disk_gib=0, limit_minutes=1) + "pip = ['a']", "either 'pip' or 'python'"),
        (RECIPE.format(disk_gib=0, limit_minutes=1).replace("toy.txt", "gone.txt"), "gone.txt"),
        (RECIPE.format(disk_gib=0, limit_minutes=1).replace("['step.py']", "3").replace('["step.py"]', "3"), "a list"),
    ],
)
def test_a_malformed_recipe_is_named(toy: Toy, recipe: str, complaint: str) -> None:
    (toy.recipes / "toy.toml").write_text(recipe)
    code, _, err = toy.run()
    assert code == 2
    assert complaint in err
    assert "Traceback" not in err


@pytest.mark.parametrize("recipe", sorted(REAL_RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_recipes_are_well_formed(toy: Toy, recipe: Path) -> None:
    command = [sys.executable, str(INSTALLER), recipe.stem.replace("_", "-"), "--print-python"]
    environment = {**os.environ, "MOEGATE_ENGINES_DIR": str(toy.engines)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 5, done.stderr
    assert "not installed" in done.stderr


@pytest.mark.parametrize("pins", sorted(REAL_RECIPES.glob("*.txt")), ids=lambda path: path.stem)
def test_the_shipped_pins_name_versions_and_no_address(pins: Path) -> None:
    lines = [line for line in pins.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    for line in lines:
        name, _, version = line.partition("==")
        assert name, line
        assert version, line
        assert not set(line) & set("/@: "), line
