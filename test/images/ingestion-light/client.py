"""The few OpenMetadata calls of an ingestion run, over the standard library's HTTP client."""

import json
import logging
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

USER_AGENT = "ingestion-light/1.0"
TIMEOUT_SECONDS = 300
# As the real client waits: a connection is tried three times, a 504 four times.
CONNECT_WAITS = (0, 2)
BUSY_WAITS = (30, 60, 90)

log = logging.getLogger("metadata.OMetaAPI")


class ApiError(Exception):
    """An answer of 400 or more; `status` is its code."""

    def __init__(self, method, path, status, text):
        super().__init__(f"{method} {path}: HTTP {status}: {text[:500]}")
        self.status = status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Client:
    """Talks to the server of a workflow's openMetadataServerConfig."""

    def __init__(self, server):
        self._base = f"{server['hostPort'].rstrip('/')}/v1"
        self.token = (server.get("securityConfig") or {}).get("jwtToken") or ""
        context = _tls(server)
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), _NoRedirect
        )

    def version(self):
        """The server's version; any failure is raised."""
        return self._call("GET", "/system/version")["version"]

    def pipeline(self, fqn):
        """The ingestion pipeline by its fully qualified name; None if unknown."""
        return self._found(f"/services/ingestionPipelines/name/{_segment(fqn)}")

    def database_service(self, name):
        """The database service by its name; None if unknown."""
        return self._found(f"/services/databaseServices/name/{_segment(name)}")

    def status(self, fqn, run_id):
        """The run's record; None if the server has none (204)."""
        return self._call("GET", f"{_status_path(fqn)}/{run_id}")

    def put_status(self, fqn, record):
        """Replace the run's record."""
        self._call("PUT", _status_path(fqn), record)

    def _found(self, path):
        try:
            return self._call("GET", path)
        except ApiError as err:
            if err.status == 404:
                return None
            raise

    def _call(self, method, path, body=None):
        connect_waits, busy_waits = list(CONNECT_WAITS), list(BUSY_WAITS)
        while True:
            try:
                return self._once(method, path, body)
            except urllib.error.HTTPError as err:
                with err:
                    text = err.read().decode(errors="replace")
                if err.code != 504 or not busy_waits:
                    raise ApiError(method, path, err.code, text) from err
                wait = busy_waits.pop(0)
            except OSError as err:
                log.warning("Transport failure calling [%s] with method [%s]: %s", path, method, err)
                if not connect_waits:
                    raise
                wait = connect_waits.pop(0)
            time.sleep(wait)

    def _once(self, method, path, body):
        request = urllib.request.Request(self._base + path, method=method)
        request.add_header("User-Agent", USER_AGENT)
        request.add_header("Accept", "*/*")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        if body is not None:
            request.add_header("Content-type", "application/json")
            request.data = json.dumps(body).encode()
        with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            raw = response.read()
        return json.loads(raw) if raw else None


def _status_path(fqn):
    return f"/services/ingestionPipelines/{_segment(fqn)}/pipelineStatus"


def _segment(name):
    return urllib.parse.quote(name, safe="")


def _tls(server):
    mode = server.get("verifySSL") or "no-ssl"
    if mode == "validate":
        return ssl.create_default_context(cafile=(server["sslConfig"])["caCertificate"])
    context = ssl.create_default_context()
    if mode == "ignore":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
