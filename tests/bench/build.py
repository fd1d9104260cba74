#!/usr/bin/env python3
"""Times builds: ten steps, cold and all cached; a context of 100,000 files; a line that changes in one of 500 MB.

    tests/bench/build.py --image busybox:1.35 "target/release/rcompose image"
    tests/bench/build.py --image busybox:1.35 -n 7 docker buildah "target/release/rcompose image"

Each command is called as `COMMAND build [--no-cache] -q -t NAME DIRECTORY` and must have the image. All commands take
turns within a round, so that what else the machine does hits them alike. Prints the median and the range in
milliseconds. `-c` chooses cases by the beginning of their titles."""

import argparse
import os
import shlex
import statistics
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("commands", nargs="+", help="commands to compare")
parser.add_argument("-n", type=int, default=5, help="rounds")
parser.add_argument("-c", "--case", action="append", help="only cases whose titles begin so")
parser.add_argument("--image", default="busybox:1.35", help="the base image; it has a shell")
options = parser.parse_args()


def build(command, directory, *more):
    words = shlex.split(command)
    words[0] = os.path.abspath(words[0]) if os.path.exists(words[0]) else words[0]
    began = time.perf_counter()
    ended = subprocess.run([*words, "build", *more, "-q", "-t", "rc-bench-build:1", directory],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True)
    took = (time.perf_counter() - began) * 1000
    if ended.returncode:
        raise SystemExit(f"{command}: exit {ended.returncode}\n{ended.stderr}")
    return took


def write(directory, name, content):
    path = os.path.join(directory, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w" if isinstance(content, str) else "wb") as file:
        file.write(content)


def ten_steps(directory):
    pairs = "".join(f"COPY f{n} /srv/f{n}\nRUN echo {n} >/srv/out{n}\n" for n in range(5))
    write(directory, "Dockerfile", f"FROM {options.image}\n{pairs}")
    for n in range(5):
        write(directory, f"f{n}", bytes([65 + n]) * 100_000)


def many_files(directory):
    write(directory, "Dockerfile", f"FROM {options.image}\nCOPY . /files/\n")
    for n in range(100_000):
        write(directory, f"d{n // 1000}/{n}", f"{n}\n")


def large(directory, copies):
    write(directory, "Dockerfile", f"FROM {options.image}\n{copies}")
    for n in range(50):
        write(directory, f"data/{n}", os.urandom(10_000_000))
    write(directory, "src/main", "line\n")


def change(directory, round_number):
    write(directory, "src/main", f"line {round_number} {time.time_ns()}\n")


# Title, what makes the context, what is done before each build that counts, further options.
cases = [
    ("10 steps, cold", ten_steps, None, ["--no-cache"]),
    ("10 steps, all cached", ten_steps, None, []),
    ("100,000 files, unchanged", many_files, None, []),
    ("500 MB, a line changes, COPY of its directory", lambda d: large(d, "COPY data /data\nCOPY src /src\n"), change, []),
    ("500 MB, a line changes, COPY of everything", lambda d: large(d, "COPY . /all\n"), change, []),
]
for title, make, before, more in cases:
    if options.case and not any(title.startswith(chosen) for chosen in options.case):
        continue
    with tempfile.TemporaryDirectory(prefix="rc-bench-") as directory:
        make(directory)
        for command in options.commands:
            build(command, directory)
        # A file's time has to be older than the clock's tick before it is believed.
        time.sleep(1.1)
        for command in options.commands:
            build(command, directory)
        times = {command: [] for command in options.commands}
        for number in range(options.n):
            for command in options.commands:
                if before:
                    before(directory, number)
                times[command].append(build(command, directory, *more))
    for command, values in times.items():
        print(f"{title:46} {statistics.median(values):8.1f} ms ({min(values):.1f}-{max(values):.1f})  {command}", flush=True)
