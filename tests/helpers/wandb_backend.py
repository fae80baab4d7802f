"""A W&B server for tests: the part of its HTTP interface that the client's uploads need, in several moods.

    with WandbBackend() as backend:
        ... run with backend.environment() ...
        backend.history(run_id), backend.runs[run_id].summary, backend.artifacts

mood: "up", "hang" (accepts requests and never answers), or the HTTP status of every answer. It shows what the
client sends, not that the real server accepts it.
"""

import base64
import gzip
import http.server
import json
import re
import threading
import urllib.parse
from typing import Any, NamedTuple

KEY = "01234567" * 5


class Run(NamedTuple):
    """A run on the server. streams: file -> line number -> line. ended: the exit codes sent."""

    project: str
    config: dict
    summary: dict
    streams: dict[str, dict[int, str]]
    files: dict[str, bytes]
    ended: list[int]


class Artifact(NamedTuple):
    """What the server has of an artifact. users: the ids of the runs that it is an input of."""

    name: str
    type: str
    aliases: list[str]
    metadata: dict
    files: dict[str, bytes]
    committed: list[bool]
    users: list[str]
    client_id: str


class WandbBackend:
    def __init__(self) -> None:
        self.mood: str | int = "up"
        self.runs: dict[str, Run] = {}
        self.names: dict[str, str] = {}  # that runs are shown by, by id
        self.artifacts: list[Artifact] = []
        self.unknown: list[Any] = []
        self._lock = threading.RLock()
        self._released = threading.Event()
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                backend.answer(self)

            do_GET = do_PUT = do_POST

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "WandbBackend":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def history(self, run_id: str) -> list[dict]:
        lines = self.runs[run_id].streams.get("wandb-history.jsonl", {})
        rows = [json.loads(line) for _, line in sorted(lines.items())]
        return [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.mood == "hang":
            self._released.wait()
            return
        if isinstance(self.mood, int):
            self._reply(request, {"errors": [{"message": "in a bad mood"}]}, self.mood)
            return
        path = urllib.parse.unquote(request.path)
        with self._lock:
            if path == "/graphql":
                self._reply(request, *self._graphql(json.loads(body)))
            elif found := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
                self._stream(self.runs[found[1]], json.loads(body))
                self._reply(request, {"exitcode": None, "limits": {}})
            elif found := re.fullmatch(r"/blob/(run|artifact)/([^/]+)/(.*)", path):
                kind, owner, name = found.groups()
                files = self.runs[owner].files if kind == "run" else self.artifacts[int(owner)].files
                if request.command == "GET":
                    self._send(request, files[name])
                else:
                    files[name] = body
                    self._reply(request, {})
            else:
                if not path.startswith("/sdk/otel/"):  # the client's own telemetry
                    self.unknown.append(path)
                self._reply(request, {}, 404)

    def _reply(self, request: http.server.BaseHTTPRequestHandler, content: Any, status: int = 200) -> None:
        self._send(request, json.dumps(content).encode(), status)

    def _send(self, request: http.server.BaseHTTPRequestHandler, data: bytes, status: int = 200) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _stream(self, run: Run, content: dict) -> None:
        for name, chunk in (content.get("files") or {}).items():
            if name == "wandb-summary.json":
                run.summary.clear()
                run.summary.update(json.loads(chunk["content"][-1]))
                continue
            for number, line in enumerate(chunk["content"]):
                run.streams.setdefault(name, {})[chunk["offset"] + number] = line
        if content.get("complete"):
            run.ended.append(content["exitcode"])

    def _graphql(self, content: dict) -> tuple[Any, int]:
        name = content.get("operationName") or re.search(r"(?:query|mutation)\s+(\w+)", content["query"])[1]
        operation = getattr(self, f"_on_{name}", None)
        if operation is None:
            self.unknown.append(name)
            return {"data": None, "errors": [{"message": f"no {name}"}]}, 400
        variables = content.get("variables") or {}
        return {"data": operation({**variables, **(variables.get("input") or {})})}, 200

    def _on_Viewer(self, _):
        viewer = {"id": "VQ==", "entity": "me", "username": "me", "email": "", "flags": "{}"}
        return {"viewer": {**viewer, "teams": {"edges": []}}}

    def _on_ServerFeaturesQuery(self, _):
        return {"serverInfo": {"features": []}}

    def _on_OrganizationCoreWeaveOrganizationID(self, _):
        return {"entity": {"organization": None}}

    def _on_UpsertBucket(self, given):
        name, inserted = given.get("name") or base64.b64decode(given["id"]).decode(), False
        if name not in self.runs:
            self.runs[name], inserted = Run(given["project"], {}, {}, {}, {}, []), True
        run = self.runs[name]
        if given.get("displayName"):
            self.names[name] = given["displayName"]
        run.config.update(json.loads(given.get("config") or "{}"))
        run.summary.update(json.loads(given.get("summaryMetrics") or "{}"))
        return {"upsertBucket": {"bucket": self._bucket(name), "inserted": inserted}}

    # Of the public API, by which finished runs are read.

    def _on_GetDefaultEntity(self, given):
        return self._on_Viewer(given)

    def _on_Runs(self, given):
        assert json.loads(given["filters"]) == {"state": "finished"}
        names = [name for name, run in self.runs.items() if run.project == given["project"] and run.ended]
        edges = [{"cursor": name, "node": self._node(name)} for name in names]
        page = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"project": {"internalId": "1", "runCount": len(names), "readOnly": False, "runs": page}}

    def _node(self, name):
        told = {"tags": [], "sweepName": None, "state": "finished", "group": None, "jobType": None}
        told |= {"commit": None, "readOnly": False, "createdAt": "2026-01-01T00:00:00Z", "heartbeatAt": None}
        told |= {"description": None, "notes": None, "user": {"name": "me", "username": "me"}}
        return {**self._bucket(name), "projectId": "1", "displayName": self.names.get(name, name), **told}

    def _on_RunFiles(self, given):
        files = self.runs[given["name"]].files
        nodes = [
            {
                "id": name,
                "name": name,
                "url": f"{self.url}/blob/run/{given['name']}/{urllib.parse.quote(name)}",
                "directUrl": f"{self.url}/blob/run/{given['name']}/{urllib.parse.quote(name)}",
                "sizeBytes": len(files[name]),
                "mimetype": None,
                "updatedAt": None,
                "md5": None,
            }
            for name in given["fileNames"]
            if name in files
        ]
        page = {
            "edges": [{"node": node, "cursor": node["id"]} for node in nodes],
            "pageInfo": {"endCursor": None, "hasNextPage": False},
        }
        return {"project": {"internalId": "1", "run": {"fileCount": len(files), "files": page}}}

    def _on_RunResumeStatus(self, given):
        project = {"id": "UA==", "name": given.get("project"), "entity": {"id": "RQ==", "name": "me"}}
        name = given["name"]
        if name not in self.runs:
            return {"model": {**project, "bucket": None}}
        run = self.runs[name]

        def tail(stream):
            return json.dumps([line for _, line in sorted(run.streams.get(stream, {}).items())][-1:])

        bucket = {
            **self._bucket(name),
            "summaryMetrics": json.dumps(run.summary),
            "tags": [],
            "notes": None,
            "logLineCount": len(run.streams.get("output.log", {})),
            "eventsLineCount": len(run.streams.get("wandb-events.jsonl", {})),
            "historyTail": tail("wandb-history.jsonl"),
            "eventsTail": tail("wandb-events.jsonl"),
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {**project, "bucket": bucket}}

    def _bucket(self, name):
        run = self.runs[name]
        return {
            "id": base64.b64encode(name.encode()).decode(),
            "name": name,
            "displayName": name,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": None,
            "historyLineCount": len(run.streams.get("wandb-history.jsonl", {})),
            "project": {"id": "UA==", "name": run.project, "entity": {"id": "RQ==", "name": "me"}},
        }

    def _on_CreateRunFiles(self, given):
        files = [
            {"name": name, "uploadUrl": f"{self.url}/blob/run/{given['run']}/{urllib.parse.quote(name)}"}
            for name in given["files"]
        ]
        run_id = base64.b64encode(given["run"].encode()).decode()
        return {"createRunFiles": {"runID": run_id, "uploadHeaders": [], "files": files}}

    def _on_CreateArtifact(self, given):
        aliases = [entry["alias"] for entry in given.get("aliases") or []]
        metadata = json.loads(given.get("metadata") or "{}")
        name, kind = given["artifactCollectionName"], given["artifactTypeName"]
        self.artifacts.append(Artifact(name, kind, aliases, metadata, {}, [], [], given["clientID"]))
        artifact = {"id": str(len(self.artifacts) - 1), "state": "PENDING"}
        return {"createArtifact": {"artifact": {**artifact, "artifactSequence": {"latestArtifact": None}}}}

    def _on_CreateArtifactManifest(self, given):
        number = given["artifactID"]
        upload = f"{self.url}/blob/artifact/{number}/manifest.json"
        file = {"id": "Rg==", "uploadUrl": upload, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"m{number}", "file": file}}}

    def _on_CreateArtifactFiles(self, given):
        edges = []
        for file in given["artifactFiles"]:
            number, name = file["artifactID"], file["name"]
            node = {
                "storagePath": f"artifact/{number}/{name}",
                "uploadUrl": f"{self.url}/blob/artifact/{number}/{urllib.parse.quote(name)}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": number},
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _on_CommitArtifact(self, given):
        number = given["artifactID"]
        self.artifacts[int(number)].committed.append(True)
        return {"commitArtifact": {"artifact": {"id": number, "digest": "d"}}}

    def _on_UseArtifact(self, given):
        self.artifacts[int(given["artifactID"])].users.append(given["runName"])
        return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}

    def _on_ClientIDMapping(self, given):
        ids = [artifact.client_id for artifact in self.artifacts]
        number = base64.b64encode(b"%03d" % ids.index(given["clientID"])).decode()  # the client decodes it
        return {"clientIDMapping": {"serverID": number}}

    def _on_ArtifactType(self, given):
        return {"project": {"artifact": None}}
