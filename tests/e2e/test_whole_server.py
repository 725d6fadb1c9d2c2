"""Starting, stopping, dying: the server as one thing."""

import os
import re
import signal

import psutil

from tests.harness import Server, wait_for

EVENT = re.compile(r'^timestamp=\S+ level=\w+ event="?([^"]+\b)"?')
HELLO = "import os\n\ndef handle(event, context):\n    return str(os.getpid())\n"


def test_stopping_leaves_nothing(own_server: Server) -> None:
    server = own_server
    server.deploy("hello", HELLO)
    pid = int(server.call("/function/hello").body)
    assert psutil.pid_exists(pid)
    assert server.end() == 0
    assert not psutil.pid_exists(pid)
    assert server.processes() == {"router": [], "app": [], "zygote": []}


def test_the_programs_of_a_server_log_in_one_form(own_server: Server) -> None:
    assert own_server.end() == 0
    lines = own_server.log.read_text().splitlines()
    logged = [line for line in lines if not line.startswith(("Pilotlight ", "pilotlight: "))]
    assert {"router serves", "control plane ready"} <= {match[1] for line in logged if (match := EVENT.search(line))}
    assert [line for line in logged if not EVENT.search(line)] == []


def test_a_killed_supervisor_leaves_replicas_to_the_next_start(own_server: Server) -> None:
    server = own_server
    server.deploy("hello", HELLO)
    pid = server.call("/function/hello").body
    server.end(signal.SIGKILL)
    wait_for(lambda: not server.processes()["app"] and not server.processes()["router"], what="its children's end")
    server.start()
    assert server.call("/function/hello").body == pid


def test_a_killed_router_comes_back_and_its_callers_wait(own_server: Server) -> None:
    server = own_server
    server.deploy("hello", HELLO)
    pid = server.call("/function/hello").body
    [router] = server.processes()["router"]
    os.kill(router, signal.SIGKILL)
    assert server.call("/function/hello").body == pid


def test_a_killed_replica_is_replaced_on_demand(own_server: Server) -> None:
    server = own_server
    server.deploy("hello", HELLO)
    pid = int(server.call("/function/hello").body)
    os.kill(pid, signal.SIGKILL)
    assert int(server.call("/function/hello").body) != pid
    assert "SIGKILL" in server.function("hello")["last_end"]["detail"]


def test_a_killed_zygote_costs_nothing(own_server: Server) -> None:
    server = own_server
    server.deploy("hello", HELLO)
    pid = int(server.call("/function/hello").body)
    for zygote in server.processes()["zygote"]:
        if zygote != pid:
            os.kill(zygote, signal.SIGKILL)
    assert int(server.call("/function/hello").body) == pid
    server.api("POST", "/api/v1/functions/hello/scale", {"replicas": 2})
    wait_for(lambda: server.function("hello")["ready_replicas"] == 2, what="a new zygote's replica")


def test_functions_never_run_as_root(own_server: Server) -> None:
    server = own_server
    server.deploy("who", "import os\n\ndef handle(event, context):\n    return str(os.getuid())\n")
    assert int(server.call("/function/who").body) != 0
    for pid in server.processes()["zygote"]:
        assert psutil.Process(pid).uids().real != 0


def test_a_second_server_on_the_same_folder_is_refused(own_server: Server) -> None:
    ran = own_server.faasctl("serve", f"--data-dir={own_server.data_dir}", "--port=0", "--metrics-port=0")
    assert ran.code == 1
    assert str(own_server.pid) in ran.err
    assert "Traceback" not in ran.err
