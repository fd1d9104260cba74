"""Counts its visitors in Redis."""

import os
import signal
import sys

import redis
from flask import Flask

app = Flask(__name__)
visits = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.get("/")
def index():
    return f"You are visitor {visits.incr('visits')}.\n"


@app.get("/healthy")
def healthy():
    visits.ping()
    return "yes\n"


if __name__ == "__main__":
    # The first process of a container has no default for SIGTERM: without this, `down` would wait in vain.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app.run(host="0.0.0.0", port=8000)
