"""Reloads when something is in the way: a hung worker, files that are none, clients of the control
socket that mean no good. Nothing of it may delay signals, health or packets."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from lab import BIN, GIVE_UP, wait_until
from packets import udp4
from reloading import COUNT, DROP, reload, reloads, rules, start
from threads import stopped


def connect(control):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(GIVE_UP)
    client.connect(str(control))
    return client


def ask(control, request=b'{"command": "reload"}\n'):
    """The whole reply to one request."""
    with connect(control) as client:
        client.sendall(request)
        return read_reply(client)


def read_reply(client):
    line = b""
    while not line.endswith(b"\n"):
        chunk = client.recv(1 << 16)
        assert chunk, f"cut off after {len(line)} bytes"
        line += chunk
    return json.loads(line)


# --- a hung worker -------------------------------------------------------------------------------


def test_a_reload_that_waits_for_a_worker_does_not_hold_up_a_drain(fresh, control, config):
    program = start(fresh, config(rules(DROP)), control, "--workers", 2)
    with stopped(program.threads()["sluice-w1"]):
        with connect(control) as client:
            client.sendall(b'{"command": "reload"}\n')
            wait_until(lambda: reloads(fresh.metrics())[0] == 2, "the new generation is published")
            began = time.monotonic()
            program.send_signal(signal.SIGTERM)
            program.wait_for("draining")
            assert time.monotonic() - began < 3, "the signal waited for the worker"
            reply = read_reply(client)
    assert reply == {
        "ok": False,
        "errors": ["generation 2 waits for a worker that makes no progress"],
    }


def test_sigint_stops_at_once_while_a_reload_waits(fresh, control, config):
    program = start(fresh, config(rules(DROP)), control, "--workers", 2)
    with stopped(program.threads()["sluice-w1"]):
        with connect(control) as client:
            client.sendall(b'{"command": "reload"}\n')
            wait_until(lambda: reloads(fresh.metrics())[0] == 2, "the new generation is published")
            program.send_signal(signal.SIGINT)
            program.wait_for("stopping at once", give_up=4)
    assert program.wait() == 0


# --- files that are none -------------------------------------------------------------------------


@pytest.fixture(params=["fifo", "directory", "device", "socket"])
def no_file(request, tmp_path):
    """A path that is no regular file, and what it is."""
    path = tmp_path / "not-a-file"
    if request.param == "fifo":
        os.mkfifo(path)
        return path, "a FIFO"
    if request.param == "directory":
        path.mkdir()
        return path, "a directory"
    if request.param == "device":
        path.symlink_to("/dev/zero")
        return path, "a device"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.close()
    return path, None  # the kernel opens none


def test_check_and_run_refuse_what_is_no_file(fresh, no_file):
    path, kind = no_file
    text = f"{path}: {kind}, not a regular file" if kind else f"{path}: No such device or address"
    done = subprocess.run([BIN / "sluice", "check", path], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr.splitlines()) == (78, [text])
    program = fresh.start("appliance", BIN / "sluice", "run", "--config", path)
    assert program.wait(give_up=20) == 78
    assert program.text.splitlines() == [text]


def test_a_set_that_is_no_file_is_refused_at_reload(fresh, control, config, no_file):
    path, kind = no_file
    file = config(rules(DROP))
    start(fresh, file, control)
    config(rules(f'{{ name: set, match: {{ source: "@{path}" }}, action: drop }}'))
    done = reload(control)
    assert done.returncode == 78
    assert (f"{path}: {kind}, not a regular file" if kind else "No such device") in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert reloads(fresh.metrics()) == (1, 0, 1, 0)
    file.unlink()
    file.symlink_to(path)
    assert reload(control).returncode == 78
    assert fresh.health()[0] == 200


def test_a_file_beyond_all_measure_is_refused(tmp_path):
    path = tmp_path / "large.yaml"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    done = subprocess.run([BIN / "sluice", "check", path], capture_output=True, text=True, timeout=20)
    assert done.returncode == 78
    assert done.stderr == f"{path}: 1099511627776 bytes, more than the 16 MiB that are read\n"


# --- the control socket --------------------------------------------------------------------------


def test_a_thousand_mistakes_make_one_whole_reply(fresh, control, config):
    path = config(rules(DROP))
    program = start(fresh, path, control)
    wrong = [f"{{ name: r{i}, match: {{ port: {'x' * 500} }}, action: drop }}" for i in range(1000)]
    config(rules(*wrong))
    reply = ask(control)
    assert not reply["ok"]
    assert len(reply["errors"]) == 101
    assert reply["errors"][-1] == "and 900 more"
    done = reload(control)
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 101
    assert program.text.count("not reloaded") == 202


def test_hostile_clients_delay_nothing(fresh, own_gateway, control, config):
    path = config(rules(COUNT))
    program = start(fresh, path, control)
    idle = [connect(control) for _ in range(12)]
    huge = connect(control)
    stopping = threading.Event()

    def drip():
        """Byte by byte, and many new ones."""
        while not stopping.is_set():
            for client in idle:
                try:
                    client.send(b"x")
                except OSError:
                    pass
            try:
                huge.send(b"y" * 100_000, socket.MSG_DONTWAIT)
            except OSError:
                pass
            try:
                idle.append(connect(control))
            except OSError:
                pass
            time.sleep(0.005)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        for number in range(20):
            began = time.monotonic()
            assert ask(control) == {"ok": True, "generation": number + 2}
            assert fresh.health()[0] == 200
            packet = udp4(b"between", dport=4000)
            assert own_gateway.pass_inner(packet) == packet
            assert time.monotonic() - began < 10
        began = time.monotonic()
        program.send_signal(signal.SIGTERM)
        program.wait_for("draining")
        assert time.monotonic() - began < 3
    finally:
        stopping.set()
        thread.join()
        for client in [*idle, huge]:
            client.close()
    assert program.wait() == 0


def test_a_client_that_reads_nothing_holds_nobody(fresh, control, config):
    path = config(rules(DROP))
    start(fresh, path, control)
    config(rules(*[f"{{ name: r{i}, match: {{ prt: {'x' * 900} }} }}" for i in range(200)]))
    deaf = [connect(control) for _ in range(8)]
    for client in deaf:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.sendall(b'{"command": "reload"}\n')
    assert len(ask(control)["errors"]) == 101
    config(rules(DROP))
    assert ask(control)["ok"]
    for client in deaf:
        client.close()


def test_everyone_who_asks_at_once_gets_an_answer(fresh, control, config):
    start(fresh, config(rules(DROP)), control)
    clients = [connect(control) for _ in range(40)]
    for client in clients:
        client.sendall(b'{"command": "reload"}\n')
    assert all(read_reply(client)["ok"] for client in clients)
    for client in clients:
        client.close()
    assert fresh.metrics().total("sluice_config_reloads_total", result="success") < 40


def test_another_user_is_not_served(fresh, control, config):
    start(fresh, config(rules(DROP)), control)
    control.chmod(0o666)
    control.parent.chmod(0o711)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(control.parent)
            os.setgroups([])
            os.setresuid(65534, 65534, 65534)
            with connect(control.name) as client:
                # It may have refused and hung up already.
                with contextlib.suppress(BrokenPipeError):
                    client.sendall(b'{"command": "reload"}\n')
                os.write(writer, json.dumps(read_reply(client)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as reply:
        assert json.load(reply) == {"ok": False, "errors": ["not permitted"]}
    os.waitpid(child, 0)
    assert reloads(fresh.metrics()) == (1, 0, 0, 1)


def test_what_a_crashed_appliance_left_is_replaced(fresh, control, config):
    path = config(rules(DROP))
    program = start(fresh, path, control)
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert control.is_socket()
    start(fresh, path, control)
    assert reload(control).returncode == 0


@pytest.mark.parametrize("kind", ["file", "directory", "datagram"])
def test_what_is_not_ours_is_left_alone(fresh, control, config, kind):
    path = config(rules(DROP))
    listener = None
    if kind == "file":
        control.write_text("precious")
    elif kind == "directory":
        control.mkdir()
    else:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(str(control))
    before = control.lstat().st_ino
    program = fresh.start("appliance", BIN / "sluice", "run", "--config", path, "--control", control)
    assert program.wait() == 71
    assert len(program.text.splitlines()) == 1
    assert str(control) in program.text
    assert control.lstat().st_ino == before
    if listener:
        listener.close()


def test_a_live_socket_with_a_full_queue_is_not_taken(fresh, control, config):
    path = config(rules(DROP))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(control))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            try:
                client.connect(str(control))
            except BlockingIOError:
                pass
            waiting.append(client)
        program = fresh.start(
            "appliance", BIN / "sluice", "run", "--config", path, "--control", control
        )
        assert program.wait(give_up=20) == 71
        assert "belongs to a running appliance" in program.text
        for client in waiting:
            client.close()
