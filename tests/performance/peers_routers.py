"""Starts the routers written in Rust, each with its cheapest settings; they are all forks of one and measured alike."""

from tests.performance.peer_catalogue import Peer
from tests.performance.targets import Place, Target, free_port, installed, launch

# Off for what a call costs; as they come where it is asked what they do when an engine hangs.
WITHOUT_CARE = "--disable-retries --disable-circuit-breaker"
READY = "/health"


def policy(place: Place) -> str:
    """Choose between engines in the cheapest way, or, where it matters, by who is busy."""
    return f"--policy {'power_of_two' if place.careful else 'round_robin'}"


def start(place: Place, peer: Peer, first: str, settings: str) -> Target:
    """Start one of them on the engines of this place."""
    port = free_port()
    command = [str(peer.executable), *first.split(), "--host", "127.0.0.1", "--port", str(port), *settings.split()]
    command += ["--prometheus-port", str(free_port()), "--prometheus-host", "127.0.0.1", "--worker-urls", *place.urls]
    process, began_ns = launch(place, command, port, READY)
    url = f"http://127.0.0.1:{port}"
    return Target(peer.name, url, process.pid, peer.version, settings, process=process, launched_ns=began_ns)


def vllm_router(place: Place) -> Target:
    """Start vllm-router without logging, retries, breaker and prefix tree."""
    settings = f"{policy(place)} --log-level error --max-concurrent-requests 100000"
    if not place.careful:
        settings += f" {WITHOUT_CARE} --health-check-interval-secs 3600"
    return start(place, installed("vllm-router"), "", settings)


def sglang_router(place: Place) -> Target:
    """Start sglang-router without logging, retries, breaker, health checks and prefix tree."""
    settings = f"{policy(place)} --log-level error --max-concurrent-requests -1"
    if not place.careful:
        settings += f" {WITHOUT_CARE} --disable-health-check"
    return start(place, installed("sglang-router"), "launch", settings)


def smg(place: Place) -> Target:
    """Start SMG, what sglang-router became, as that one; it would also load a tokenizer and watch the engines' load."""
    settings = f"{policy(place)} --log-level error --max-concurrent-requests -1 --backend vllm"
    settings += " --disable-tokenizer-autoload"
    # By its own counts of calls, because the engine's pages tell no load to go by.
    settings += (
        " --power-of-two-load-metric requests"
        if place.careful
        else f" {WITHOUT_CARE} --disable-load-monitoring --disable-health-check"
    )
    return start(place, installed("smg"), "launch", settings)
