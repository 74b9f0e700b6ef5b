"""The servers that are measured side by side, all in front of the same instant upstream."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import load
from tests.programs import free_port, running

HERE = Path(__file__).parent
SERVER = """
[server]
port = {port}
max_connections = 32768
idle_timeout_s = 3600
send_timeout_s = 3600

[[keys]]
name = "bench"
sha256 = "{sha256}"

[usage]
path = "usage.db"
"""
MODEL = """
[models.m]
load = "start"
placements = [{{ backend = "relay", source = "instant", options = {{ port = {port}, slots = 32768 }} }}]
"""


def require(*programs: str) -> None:
    """End with a hint where one of *programs* is not here."""
    absent = [name for name in programs if shutil.which(name) is None]
    if absent:
        raise SystemExit(f"The bench needs {' and '.join(absent)}, on Debian: apt-get install nginx-light wrk")


def wait_answer(url: str, process: subprocess.Popen[bytes], *, timeout_s: float = 60) -> float:
    """Wait until *url* answers anything but 5xx; return the seconds it took."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < timeout_s:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return time.perf_counter() - begin
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return time.perf_counter() - begin
        except OSError:
            pass
        time.sleep(0.005)
    raise RuntimeError(f"{url} did not answer in {timeout_s} s")


@contextmanager
def upstream(folder: Path, manner: str = "whole") -> Iterator[tuple[int, int]]:
    """The instant upstream; *manner* is one of its `MANNERS`."""
    port = free_port()
    with running([sys.executable, str(HERE / "upstream.py"), str(port), manner], folder, "upstream") as process:
        wait_answer(f"http://127.0.0.1:{port}/v1/models", process)
        yield port, process.pid


@contextmanager
def nginx(folder: Path, upstream_port: int, connections: int = 8192) -> Iterator[tuple[int, int]]:
    port = free_port()
    (folder / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections {connections}; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream u {{ server 127.0.0.1:{upstream_port}; keepalive 512; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000;
    location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 1h;
      proxy_set_header Connection ""; }} }}
}}""")
    with running(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], folder, "nginx") as process:
        wait_answer(f"http://127.0.0.1:{port}/v1/models", process)
        yield port, process.pid


@contextmanager
def vllm_router(folder: Path, upstream_port: int, *options: str) -> Iterator[tuple[int, int]]:
    """`vllm-router` lives in an environment of its own, made once in the cache folder."""
    port, metrics_port = free_port(), free_port()
    argv = [vllm_router_program(), "--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(metrics_port),
            "--worker-urls", f"http://127.0.0.1:{upstream_port}", *options]  # fmt: skip
    with running(argv, folder, "vllm-router") as process:
        wait_answer(f"http://127.0.0.1:{port}/v1/models", process)
        yield port, process.pid


def vllm_router_program() -> str:
    found = shutil.which("vllm-router")
    if found:
        return found
    venv = Path(__file__).parents[2] / ".cache" / "vllm-router"
    program = venv / "bin" / "vllm-router"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(venv / "bin" / "pip"), "install", "--quiet", "vllm-router"], check=True)
    return str(program)


def install_plugin(folder: Path) -> Path:
    """Make a folder that, on PYTHONPATH, offers the backend of `relay_backend.py` as an installed plugin would."""
    site = folder / "site"
    info = site / "enginehouse_bench-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: enginehouse-bench\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[enginehouse.plugins]\nbench = relay_backend\n")
    shutil.copy(HERE.parent / "relay_backend.py", site)
    return site


@contextmanager
def enginehouse(
    folder: Path, upstream_port: int | None, more: str = "", program: str | None = None
) -> Iterator[tuple[int, int, float]]:
    """The router with keys, usage, metrics and its log on, and *more* configuration; without an upstream it has no
    engine.

    *program* is that of another environment. Also yields the seconds to its first /health.
    """
    port = free_port()
    lines = [SERVER.format(port=port, sha256=hashlib.sha256(load.KEY.encode()).hexdigest())]
    if upstream_port is not None:
        lines.append(MODEL.format(port=upstream_port))
    lines.append(more)
    config = folder / "enginehouse.toml"
    config.write_text("\n".join(lines))
    env = {"PYTHONPATH": str(install_plugin(folder))}
    argv = [
        program or str(Path(sys.executable).with_name("enginehouse")),
        "serve",
        "--config",
        str(config),
        "--log-format",
        "json",
    ]
    with running(argv, folder, "enginehouse", env) as process:
        start_s = wait_answer(f"http://127.0.0.1:{port}/health", process)
        if upstream_port is not None:
            wait_answer(f"http://127.0.0.1:{port}/ready", process)
        yield port, process.pid, start_s
