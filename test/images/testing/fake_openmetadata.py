"""A small OpenMetadata for the unit tests: the calls of one ingestion run, recorded."""

import json
import threading
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIPELINES = "/api/v1/services/ingestionPipelines/"
SERVICES = "/api/v1/services/databaseServices/name/"


class FakeOpenMetadata:
    """Serves on a free port of the loopback address until close() is called.

    It keeps one record per run as the real server does: a PUT replaces the whole
    record, an unknown run is 204, and two runs may not share a timestamp (409).
    """

    def __init__(self, options=None):
        self.requests = []  # (method, path, User-Agent, decoded body)
        self.records = {}  # run id -> record as last written
        self.writes = []  # every record that a PUT carried, also a refused one
        self.options = dict(options or {})  # connectionOptions of every service
        self.put_status = None  # answer every status write with this code
        self.all_status = None  # answer everything with this code
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self):
        """The address that `hostPort` takes, with the `/api` suffix."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/api"

    def close(self):
        """Stop serving and wait for the server's thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def answer(self, method, path, body):
        """The (status code, JSON value or None) of one request."""
        if self.all_status:
            return self.all_status, {"code": self.all_status, "message": "told to refuse"}
        if path == "/api/v1/system/version":
            return 200, {"version": "2.0.6.0", "revision": "fake", "timestamp": 0}
        if path.startswith(SERVICES) and method == "GET":
            return 200, self._service(urllib.parse.unquote(path[len(SERVICES) :]))
        if path.startswith(PIPELINES):
            return self._pipelines(method, path[len(PIPELINES) :].split("/"), body)
        return self._entity(method, path, body)

    def _pipelines(self, method, parts, body):
        if method == "GET" and parts[0] == "name":
            return 200, self._pipeline(urllib.parse.unquote(parts[1]))
        if method == "GET" and parts[1:2] == ["pipelineStatus"]:
            record = self.records.get(parts[2])
            return (200, record) if record else (204, None)
        if method == "PUT" and parts[1:] == ["pipelineStatus"]:
            return self._write(body)
        return 404, {"code": 404, "message": "no such path"}

    def _write(self, record):
        with self._lock:
            self.writes.append(record)
            if self.put_status:
                return self.put_status, {"code": self.put_status, "message": "told to refuse"}
            taken = {
                other["timestamp"] for run, other in self.records.items() if run != record["runId"]
            }
            if record["timestamp"] in taken:
                return 409, {"code": 409, "message": "Entity already exists"}
            self.records[record["runId"]] = record
        return 201, {"eventType": "entityFieldsChanged"}

    def _pipeline(self, fqn):
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, fqn)),
            "name": fqn.rsplit(".", 1)[-1],
            "fullyQualifiedName": fqn,
            "pipelineType": "metadata",
            "sourceConfig": {"config": {"type": "DatabaseMetadata"}},
            "airflowConfig": {},
        }

    def _service(self, name):
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
            "name": name,
            "fullyQualifiedName": name,
            "serviceType": "CustomDatabase",
            "connection": {
                "config": {"type": "CustomDatabase", "connectionOptions": self.options}
            },
        }

    def _entity(self, method, path, body):
        return 404, {"code": 404, "message": f"no such path: {method} {path}"}

    def _handler(self):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                body = json.loads(raw) if raw else None
                path = self.path.split("?", 1)[0]
                fake.requests.append((self.command, path, self.headers.get("User-Agent"), body))
                status, value = fake.answer(self.command, path, body)
                data = b"" if value is None else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve

            def log_message(self, *_):
                pass

        return Handler
