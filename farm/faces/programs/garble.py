"""Run a command and tear, garble or repeat every N-th line that it prints; its input and exit status stay its own.

Run as `garble.py N COMMAND...`.
"""

import subprocess
import sys


def garbled(line: bytes, turn: int) -> bytes:
    """Return one line, spoilt in one of four ways."""
    if turn % 4 == 0:
        return line[: len(line) // 2] + b"\n"
    if turn % 4 == 1:
        return b"\xff\xfe\x00\x1b[31m" + line
    if turn % 4 == 2:
        return line.replace(b'"', b"'")
    return b"*** board message: voltage normalised ***" + line


def main(every: int, argv: list[str]) -> int:
    """Copy what the command prints, line by line, and return its exit status."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=-1)
    assert process.stdout is not None
    for number, line in enumerate(iter(process.stdout.readline, b""), 1):
        sys.stdout.buffer.write(garbled(line, number // every) if number % every == 0 else line)
        sys.stdout.buffer.flush()
    status = process.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
