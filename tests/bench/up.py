#!/usr/bin/env python3
"""Times `up -d`, `ps`, `exec`, a second `up -d` and `down` of stacks with 1, 5, 20 and 50 services.

    tests/bench/up.py target/release/rcompose
    tests/bench/up.py -n 7 "docker compose" target/release/rcompose --image bench/base:1

All commands take turns within a round, so that what else the machine does hits them alike. Prints the median and the
range in milliseconds. The image must have `sleep` and `true`; the default is this machine's own userland."""

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
parser.add_argument("-s", "--sizes", default="1,5,20,50", help="numbers of services")
parser.add_argument("--image", default="rootfs:/", help="the services' image")
options = parser.parse_args()


def run(command, directory):
    began = time.perf_counter()
    ended = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    took = (time.perf_counter() - began) * 1000
    if ended.returncode:
        raise SystemExit(f"{shlex.join(command)}: exit {ended.returncode}\n{ended.stderr}")
    return took


def stack(services, chain):
    text = "services:\n"
    for n in range(services):
        text += f"  s{n}:\n    image: {options.image}\n    command: [sleep, infinity]\n"
        if chain and n:
            text += f"    depends_on: {{s{n - 1}: {{condition: service_healthy}}}}\n"
        if chain:
            text += "    healthcheck: {test: [CMD, 'true'], interval: 1s}\n"
    return text


cases = [(f"{size} services", stack(int(size), False)) for size in options.sizes.split(",")]
cases.append(("chain of 5, each healthy", stack(5, True)))
for title, text in cases:
    times = {}
    with tempfile.TemporaryDirectory(prefix="rc-bench-") as directory:
        with open(os.path.join(directory, "compose.yaml"), "w") as file:
            file.write(f"name: rcbench{os.getpid()}\n" + text)
        for _ in range(options.n):
            for name in options.commands:
                command = shlex.split(name)
                command[0] = os.path.abspath(command[0]) if os.path.exists(command[0]) else command[0]
                for verb in ("up -d", "ps", "exec -T s0 true", "up -d again", "down -t 0"):
                    arguments = verb.removesuffix(" again").split()
                    times.setdefault((verb, name), []).append(run(command + arguments, directory))
    for (verb, name), values in times.items():
        print(f"{title:26} {verb:16} {statistics.median(values):8.1f} ms ({min(values):.1f}-{max(values):.1f})  {name}")
