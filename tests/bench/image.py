#!/usr/bin/env python3
"""Times `load` and `pull` of a large image beside what the same bytes cost `tar x`, `sha256sum` and `gzip -d`.

    tests/bench/image.py target/release/rcompose
    tests/bench/image.py -n 7 --registry 127.0.0.1:5000 docker podman target/release/rcompose

The image is one layer of real files, those below `/usr`. Each command is called as `COMMAND image load|pull|rm`. With
`--registry` the image is pushed there first, gzipped, under `bench/usr:1`; the registry has to take it without a password.
All take turns within a round, so that what else the machine does hits them alike. Prints the medians of elapsed time, of
processor time (of the command and all that it waited for: a daemon's is not in it) and of the largest memory, of which
some 20 MiB may be this program's, before exec.

Everything is written below TMPDIR, and what was read is removed before each turn. ext4 without a journal looks at each inode
freed within the last minutes before it gives one out: removing and unpacking in turns is many times slower there, for all
commands alike (`recently_deleted` in fs/ext4/ialloc.c). Take a file system with a journal."""

import argparse
import gzip
import hashlib
import json
import os
import shlex
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
import urllib.request

NAME = "bench/usr:1"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("commands", nargs="+", help="commands to compare")
parser.add_argument("-n", type=int, default=5, help="rounds")
parser.add_argument("--registry", help="HOST:PORT of a registry to pull from")
parser.add_argument("--size", type=int, default=300, help="millions of bytes in the image's files")
options = parser.parse_args()


def digest(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def layer(path):
    left, files = options.size * 1_000_000, 0
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for directory, below, names in os.walk("/usr"):
            below.sort()
            for name in sorted(names):
                file = os.path.join(directory, name)
                if os.path.isfile(file) and not os.path.islink(file) and os.path.getsize(file) < 4 << 20 and left > 0:
                    tar.add(file, arcname=file.lstrip("/"))
                    left, files = left - os.path.getsize(file), files + 1
    print(f"# {os.path.getsize(path) / 1e6:.0f} MB in {files} files, {options.n} rounds")


def archive(path, layer_path, config_path):
    write(config_path, {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"]},
                        "rootfs": {"type": "layers", "diff_ids": [digest(layer_path)]}})
    write(path, [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}])
    os.rename(path, f"{path}.json")
    with tarfile.open(path, "w") as tar:
        tar.add(layer_path, arcname="layer.tar")
        tar.add(config_path, arcname="config.json")
        tar.add(f"{path}.json", arcname="manifest.json")


def write(path, value):
    with open(path, "w") as file:
        json.dump(value, file)


def push(config, packed, manifest):
    base = f"http://{options.registry}/v2/{NAME.split(':')[0]}"

    def send(method, url, path=None, kind="application/octet-stream"):
        headers = {"Content-Type": kind, "Content-Length": str(os.path.getsize(path) if path else 0)}
        with open(path or os.devnull, "rb") as body:
            return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method))

    def blob(kind, path):
        place = send("POST", f"{base}/blobs/uploads/").headers["Location"]
        send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest(path)}", path)
        return {"mediaType": kind, "digest": digest(path), "size": os.path.getsize(path)}

    kind = "application/vnd.docker.distribution.manifest.v2+json"
    write(manifest, {"schemaVersion": 2, "mediaType": kind,
                     "config": blob("application/vnd.docker.container.image.v1+json", config),
                     "layers": [blob("application/vnd.docker.image.rootfs.diff.tar.gzip", packed)]})
    send("PUT", f"{base}/manifests/1", manifest, kind)


def run(words):
    """Returns elapsed and processor milliseconds and the largest memory in MiB."""
    began = time.perf_counter()
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{shlex.join(words)}: exit {child.returncode}\n{said}")
    return (time.perf_counter() - began) * 1000, (usage.ru_utime + usage.ru_stime) * 1000, usage.ru_maxrss / 1024


with tempfile.TemporaryDirectory(prefix="rc-bench-") as work:
    tar, packed, config, whole, manifest, out = (
        f"{work}/{name}" for name in ("layer.tar", "layer.tar.gz", "config.json", "image.tar", "manifest.json", "out"))
    layer(tar)
    archive(whole, tar, config)
    with open(tar, "rb") as source, gzip.open(packed, "wb", 6) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    if options.registry:
        push(config, packed, manifest)
    remote = f"{options.registry}/{NAME}"
    turns = []
    for command in options.commands:
        words = shlex.split(command) + ["image"]
        words[0] = os.path.abspath(words[0]) if os.path.exists(words[0]) else words[0]
        turns.append((f"{command} load", words + ["load", "-q", "-i", whole], words))
        if options.registry:
            turns.append((f"{command} pull", words + ["pull", "-q", remote], words))
    for title, words in (("tar x", ["tar", "-C", out, "-xf", tar]), ("sha256sum", ["sha256sum", tar]),
                         ("gzip -d", ["gzip", "-dc", packed]), ("sha256sum, gzipped", ["sha256sum", packed])):
        turns.append((title, words, None))
    seen = {}
    for _ in range(options.n):
        for title, words, command in turns:
            for name in (NAME, remote) if command else ():
                subprocess.run(command + ["rm", "-f", name], capture_output=True)
            shutil.rmtree(out, ignore_errors=True)
            os.mkdir(out)
            os.sync()
            seen.setdefault(title, []).append(run(words))
    for title, rows in seen.items():
        (wall, cpu, memory), walls = (statistics.median(column) for column in zip(*rows)), [row[0] for row in rows]
        print(f"{title:60} {wall:7.0f} ms ({min(walls):.0f}-{max(walls):.0f})  cpu {cpu:6.0f} ms  {memory:4.0f} MiB")
