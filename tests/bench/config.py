#!/usr/bin/env python3
"""Measures `config` of a file with 200 services, and of 20 files with 2,000 together.

    tests/bench/config.py target/release/rcompose
    tests/bench/config.py -n 9 "docker compose" target/release/rcompose

All commands take turns within a round, so that what else the machine does hits them alike. Prints the median processor
time (user and system) and wall time in milliseconds, and the largest resident memory in MiB."""

import argparse
import os
import shlex
import statistics
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("commands", nargs="+", help="commands to compare")
parser.add_argument("-n", type=int, default=7, help="rounds")
options = parser.parse_args()


def service(number, before):
    needs = f"\n    depends_on:\n      s{number - 1}: {{condition: service_started}}" if before else ""
    return f"""\
  s{number}:
    image: "registry.example/team/app-{number}:${{TAG:-1.0}}"
    command: ["serve", "--port", "{8000 + number}"]
    environment:
      PORT: "{8000 + number}"
      DATABASE_URL: postgres://user:${{PASSWORD:-secret}}@db{number}/app
      LOG_LEVEL: info
    ports: ["127.0.0.1:{10000 + number}:{8000 + number}"]
    volumes: ["data{number}:/var/lib/app", "./conf:/etc/app:ro"]
    networks: [front, back]
    labels: [app=app-{number}, tier=web]
    healthcheck: {{test: ["CMD", "true"], interval: 10s, timeout: 2s, retries: 3}}
    deploy: {{resources: {{limits: {{cpus: "0.5", memory: 128m}}}}}}
    restart: unless-stopped{needs}
"""


def write(path, numbers):
    with open(path, "w") as file:
        file.write("services:\n" + "".join(service(n, n > numbers[0]) for n in numbers))
        file.write("volumes:\n" + "".join(f"  data{n}: {{}}\n" for n in numbers))
        file.write("networks: {front: {}, back: {}}\n")


def measure(command, directory, files):
    words = shlex.split(command) + [word for file in files for word in ("-f", file)] + ["config"]
    began = time.perf_counter()
    with open(os.devnull, "w") as nowhere:
        child = subprocess.Popen(words, cwd=directory, stdin=subprocess.DEVNULL, stdout=nowhere)
        _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"`{shlex.join(words)}` failed")
    wall = (time.perf_counter() - began) * 1000
    return (used.ru_utime + used.ru_stime) * 1000, wall, used.ru_maxrss / 1024


with tempfile.TemporaryDirectory() as directory:
    write(os.path.join(directory, "one.yaml"), range(200))
    many = [f"part{part}.yaml" for part in range(20)]
    for part, name in enumerate(many):
        write(os.path.join(directory, name), range(part * 100, part * 100 + 100))
    cases = {"200 services in 1 file": ["one.yaml"], "2000 services in 20 files": many}
    commands = [os.path.abspath(word) if os.path.exists(word) else word for word in options.commands]
    results = {(case, command): [] for case in cases for command in commands}
    for _ in range(options.n):
        for case, files in cases.items():
            for command in commands:
                results[case, command].append(measure(command, directory, files))
    for (case, command), runs in results.items():
        cpu, wall, memory = (statistics.median(column) for column in zip(*runs))
        print(f"{case:27} {os.path.basename(command):20} cpu {cpu:7.1f} ms   wall {wall:7.1f} ms   {memory:6.1f} MiB")
