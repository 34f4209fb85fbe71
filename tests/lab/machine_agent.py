"""Runs inside a machine of the lab: carries out what machine.py asks over a serial line.

A line of JSON in, a line of JSON out, one at a time. Only the standard library: the machine has
the Python of its Debian and nothing of the checkout.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tty

LINE = "/dev/ttyS0"


def main() -> None:
    descriptor = os.open(LINE, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor)
    with os.fdopen(descriptor, "rb", buffering=0) as line:
        _write(descriptor, {"ready": True})
        waiting = b""
        while True:
            waiting += line.read(4096) or b""
            while b"\n" in waiting:
                order, _, waiting = waiting.partition(b"\n")
                with contextlib.suppress(ValueError):
                    _write(descriptor, _carried_out(json.loads(order)))


def _carried_out(order: dict[str, object]) -> dict[str, object]:
    answer: dict[str, object] = {"number": order["number"], "code": None, "output": ""}
    try:
        done = subprocess.run(
            order["argv"],  # type: ignore[call-overload]
            input=order["stdin"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=order["timeout_s"],
        )
        answer |= {"code": done.returncode, "output": done.stdout}
    except (OSError, subprocess.TimeoutExpired) as error:
        answer |= {"output": str(error)}
    return answer


def _write(descriptor: int, answer: dict[str, object]) -> None:
    text = json.dumps(answer).encode() + b"\n"
    while text:
        text = text[os.write(descriptor, text) :]


if __name__ == "__main__":
    main()
