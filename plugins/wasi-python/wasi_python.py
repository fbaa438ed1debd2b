"""The averages of ema-cross-python with WASI left in, and a look at what WASI gives a strategy.

It trades like the other. On the operator's words it does what a program on a computer would do, and says in the
log what came of it: the clock is that of the data, random numbers are seeded, prints arrive in the log, and
whatever touches the machine is an error like any other.
"""

# There are no files at run time, so what Python would load later is loaded while the component is built: the
# first look at an address needs this one.
import encodings.idna  # noqa: F401
import os
import random
import socket
import sys
import threading
import time
from dataclasses import replace

import ema_cross
from ema_cross import State
from wit_world.imports import log
from wit_world.imports.log import Level
from wit_world.imports.types import Event, Event_Operator, Metadata, OrderIntent, TickContext


def try_clock() -> str:
    time.sleep(3600)
    return f"{time.time_ns()} {time.monotonic_ns()}"


def try_random() -> str:
    return f"{os.urandom(8).hex()} {random.SystemRandom().randrange(1_000_000)}"


def try_environment() -> str:
    return f"{dict(os.environ)} {sys.argv[1:]}"


def try_read() -> str:
    with open("/etc/hostname") as file:
        return file.read()


def try_data() -> str:
    with open("/data/words.txt") as file:
        return f"{sorted(os.listdir('/data'))} {file.read()!r}"


def try_change() -> str:
    with open("/data/words.txt", "a") as file:
        file.write("more")
    return "changed"


def try_leave() -> str:
    with open("/data/../secret.txt") as file:
        return file.read()


def try_write() -> str:
    with open("wasi-python-was-here", "w") as file:
        file.write("here")
    return "written"


def try_list() -> str:
    return str(os.listdir("/"))


def try_socket() -> str:
    with socket.create_connection(("127.0.0.1", 9), timeout=1):
        return "connected"


def try_name() -> str:
    return str(socket.getaddrinfo("localhost", 80))


def try_input() -> str:
    return repr(sys.stdin.readline())


def try_print() -> str:
    print("printed \x1b[31mred\x1b[0m", flush=True)
    print("warned", file=sys.stderr, flush=True)
    return "done"


def try_flood() -> str:
    for line in range(50_000):
        print(f"line {line}", flush=True)
    return "done"


def try_thread() -> str:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    return "started"


def try_exit() -> str:
    os._exit(3)


ATTEMPTS = {name.removeprefix("try_"): attempt for name, attempt in globals().items() if name.startswith("try_")}


class Strategy(ema_cross.Strategy):
    def describe(self) -> Metadata:
        return replace(super().describe(), name="wasi-python", summary="ema-cross with WASI, which it can try out")

    def on_event(self, event: Event, context: TickContext) -> list[OrderIntent]:
        if isinstance(event, Event_Operator) and event.value in ATTEMPTS:
            try:
                result = ATTEMPTS[event.value]()
            except OSError as error:
                result = f"{type(error).__name__} {error.errno}"
            except Exception as error:
                result = f"{type(error).__name__}: {error}"
            log.write(Level.INFO, f"{event.value}: {result}")
        return super().on_event(event, context)
