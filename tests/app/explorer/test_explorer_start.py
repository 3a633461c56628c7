"""The start: ports, packages and networks; and the thread that runs them."""

import asyncio
import sys
import threading
import time
import weakref

import pytest

from atrc.app.cli import main, make_parser
from atrc.app.explorer.limits import BusyError
from atrc.app.explorer.model import short_names
from atrc.app.explorer.serve import bound_socket
from atrc.app.explorer.worker import Worker
from atrc.errors import UserError


def test_too_many_jobs_are_refused_and_places_come_free_again():
    worker, gate = Worker(2), threading.Event()

    async def ask():
        running = [asyncio.create_task(worker.run(gate.wait)) for _ in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(BusyError, match="busy with other visitors"):
            await worker.run(lambda: 1)
        gate.set()
        assert await asyncio.gather(*running) == [True, True]
        with pytest.raises(ZeroDivisionError):
            await worker.run(lambda: 1 / 0)
        return [await worker.run(lambda i=i: i) for i in range(5)]

    assert asyncio.run(ask()) == list(range(5))
    worker.close()


def test_no_reference_to_a_finished_job_is_kept():
    worker = Worker(2)

    class Job:
        def __call__(self):
            return 1

    async def ask(job):
        return await worker.run(job)

    job = Job()
    held = weakref.ref(job)
    assert asyncio.run(ask(job)) == 1
    del job
    for _ in range(200):  # the thread may take a moment
        if held() is None:
            break
        time.sleep(0.01)
    assert held() is None
    worker.close()


def test_quick_jobs_overtake_long_ones_but_not_for_ever():
    worker, gate, done = Worker(9), threading.Event(), []

    async def ask():
        first = asyncio.create_task(worker.run(gate.wait))
        await asyncio.sleep(0.01)
        jobs = [("long", 0.2), ("quick", 0.0), ("later", 0.0)]
        tasks = []
        for name, patience in jobs:
            await asyncio.sleep(0.3 if name == "later" else 0.0)
            tasks.append(asyncio.create_task(worker.run(lambda name=name: done.append(name), patience)))
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(first, *tasks)

    asyncio.run(ask())
    worker.close()
    assert done == ["quick", "long", "later"]


def test_a_closed_worker_drops_waiting_jobs():
    worker, gate = Worker(9), threading.Event()

    async def ask():
        running, waiting = (asyncio.create_task(worker.run(job)) for job in (gate.wait, lambda: 1))
        await asyncio.sleep(0.01)
        closing = asyncio.get_running_loop().run_in_executor(None, worker.close)
        await asyncio.sleep(0.05)
        gate.set()
        await closing
        return await running, await asyncio.gather(waiting, return_exceptions=True)

    ran, dropped = asyncio.run(ask())
    assert ran
    assert isinstance(dropped[0], asyncio.CancelledError)


def test_a_port_that_is_taken_is_named(capsys):
    with bound_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as stop:
            main(["explore", "nothere", "--port", str(port)])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert f"--port {port}: Address already in use; choose another port, or 0 for any free one" in message
    for host, number, said in (
        ("127.0.0.1", 99_999, "ports go from 0"),
        ("no such host", 1, "the default host is 127.0.0.1"),
        ("203.0.113.1", 0, "Cannot assign"),
    ):
        with pytest.raises(UserError, match=said):
            bound_socket(host, number)


def test_a_missing_package_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "atrc.app.explorer.web", raising=False)
    with pytest.raises(SystemExit):
        main(["explore", "nothere"])
    assert "the explorer needs uvicorn, which is not installed; pip install 'atrc[explore]'" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["nothere"], ["nothere", "--compare", "too"]])
def test_a_missing_network_is_named(capsys, options):
    with pytest.raises(SystemExit) as stop:
        main(["explore", *options, "--port", "0"])
    assert stop.value.code == 2
    assert "nothere: no such run, checkpoint or saved network" in capsys.readouterr().err


def test_the_network_may_be_left_out_or_come_first():
    parser, _ = make_parser()
    given = {words: parser.parse_args(["explore", *words.split()]).explore for words in ("", "x", "--port 5 x")}
    assert [found.model for found in given.values()] == ["rooms-atrc", "x", "x"]


def test_names_of_networks_tell_them_apart(tmp_path):
    assert short_names(["runs/rooms/atrc/seed0/train", "owner/name"]) == ["atrc/seed0", "owner/name"]
    assert short_names(["a/x/y", "b/x/y"]) == ["a/x/y", "b/x/y"]
    assert short_names(["same", "same"]) == ["same", "same"]
