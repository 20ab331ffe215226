"""Starts nginx and HAProxy, which know nothing of models: what any gateway costs at the least, not rivals."""

import os
import subprocess

from tests.performance.peer_catalogue import Peer
from tests.performance.targets import Place, Target, free_port, installed, launch

# The system's own folders are never written to: all paths are below the prefix. Buffering is off, so that chunks pass at
# once; a request stays in memory up to 2 MiB.
NGINX = """\
{user}worker_processes 1;
worker_rlimit_nofile 32768;
error_log stderr crit;
pid nginx.pid;
daemon off;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  client_body_buffer_size 2m;
  client_max_body_size 0;
  keepalive_requests 1000000000;
  upstream engines {{ {balance}{servers} keepalive 2048; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://engines;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
HAPROXY = """\
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  option abortonclose
  option http-no-delay
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:{port} backlog 4096
  default_backend engines
backend engines
  balance {balance}
{servers}
"""


def said_version(peer: Peer) -> str:
    """Ask the command for its version, because Debian's packages are not pinned here."""
    done = subprocess.run(
        with_libraries(peer, [str(peer.executable), "-v"]), capture_output=True, text=True, check=False, timeout=10
    )
    words = (done.stdout + done.stderr).replace("nginx/", "").split()
    return next((word for word in words if word[0].isdigit()), "unknown")


def with_libraries(peer: Peer, command: list[str]) -> list[str]:
    """Let an unpacked package find the libraries that came with it."""
    return ["env", f"LD_LIBRARY_PATH={peer.libraries}", *command] if peer.libraries else command


def nginx(place: Place) -> Target:
    """Start nginx with one worker."""
    peer, port = installed("nginx"), free_port()
    config = place.folder / "nginx.conf"
    # Its workers would otherwise be another user's, who may not enter this folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    balance = "least_conn; " if place.careful else ""
    servers = " ".join(f"server {address};" for address in place.addresses)
    config.write_text(NGINX.format(user=user, balance=balance, servers=servers, port=port))
    command = [str(peer.executable), "-p", str(place.folder), "-c", str(config), "-e", "stderr"]
    process, began_ns = launch(place, with_libraries(peer, command), port, "/health")
    settings = "1 worker, no log, no buffering of answers, keep-alive to the engine"
    url = f"http://127.0.0.1:{port}"
    return Target(peer.name, url, process.pid, said_version(peer), settings, process=process, launched_ns=began_ns)


def haproxy(place: Place) -> Target:
    """Start HAProxy with one thread."""
    peer, port = installed("haproxy"), free_port()
    config = place.folder / "haproxy.cfg"
    balance = "leastconn" if place.careful else "roundrobin"
    check = " check" if place.careful else ""
    servers = "\n".join(f"  server e{number} {each}{check}" for number, each in enumerate(place.addresses))
    config.write_text(HAPROXY.format(balance=balance, servers=servers, port=port))
    command = [str(peer.executable), "-db", "-f", str(config)]
    process, began_ns = launch(place, with_libraries(peer, command), port, "/health")
    settings = "1 thread, no log, http-reuse always, abortonclose, http-no-delay (chunks would wait 200 ms for more)"
    url = f"http://127.0.0.1:{port}"
    return Target(peer.name, url, process.pid, said_version(peer), settings, process=process, launched_ns=began_ns)
