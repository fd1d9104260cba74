"""Notes over HTTP, one line each, kept in a file of the volume /data."""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

NOTES = Path("/data/notes.jsonl")
lock = Lock()


class Store(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            return self.answer({"ok": True})
        if self.path != "/notes":
            return self.answer({"error": "no such page"}, 404)
        with lock:
            lines = NOTES.read_text().splitlines() if NOTES.exists() else []
        self.answer([json.loads(line) for line in lines])

    def do_POST(self):
        note = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock, NOTES.open("a") as file:
            file.write(json.dumps(note) + "\n")
        self.answer({"ok": True}, 201)

    def answer(self, content, code=200):
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("store: keeping notes in", NOTES)
ThreadingHTTPServer(("", 7000), Store).serve_forever()
