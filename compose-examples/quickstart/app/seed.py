"""Writes the first notes, once: the volume outlives this job."""

import json
import os
from urllib.request import Request, urlopen

STORE = os.environ["STORE_URL"]
FIRST = ["Notes are kept in a named volume: they outlive `rcompose down`.", "This one was written by a job that has ended."]

if json.load(urlopen(STORE + "/notes")):
    print("seed: the notes of last time are still here")
else:
    for text in FIRST:
        urlopen(Request(STORE + "/notes", json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}))
    print("seed: wrote", len(FIRST), "notes")
