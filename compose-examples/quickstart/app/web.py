"""A page with the notes of `store` and a form for another."""

import html
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

STORE = os.environ["STORE_URL"]
PAGE = """<!doctype html><meta charset="utf-8"><title>rcompose quickstart</title>
<style>body{{font:16px/1.5 sans-serif;max-width:40em;margin:3em auto}}input{{width:70%}}</style>
<h1>It works</h1><p>This page is served by <code>web</code>; the notes come from <code>store</code>, by its name.</p>
<ul>{notes}</ul><form method="post"><input name="text" autofocus> <button>Add a note</button></form>"""


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            return self.answer("ok")
        if self.path != "/":
            return self.answer("no such page", 404)
        notes = json.load(urlopen(STORE + "/notes", timeout=5))
        self.answer(PAGE.format(notes="".join(f"<li>{html.escape(note['text'])}</li>" for note in notes)))

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        note = json.dumps({"text": form.get("text", [""])[0]}).encode()
        urlopen(Request(STORE + "/notes", note, {"Content-Type": "application/json"}), timeout=5)
        self.send_response(303)
        self.send_header("Location", "/")
        self.end_headers()

    def answer(self, text, code=200):
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("web: open", os.environ["PUBLIC_URL"])
ThreadingHTTPServer(("", 8000), Web).serve_forever()
