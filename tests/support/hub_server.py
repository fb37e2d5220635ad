"""A model hub on the loopback: the routes by which huggingface_hub looks up and fetches a model."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Repositories by name, each a folder by its revisions; what was asked for, in `asked`."""

    def __init__(self):
        self.repositories, self.asked, self.status = {}, [], None

    def add(self, repository, folder, commit="a" * 40, revision="main"):
        """Give a folder's files as a revision of a repository."""
        known = self.repositories.setdefault(repository, {})
        known[revision] = known[commit] = (commit, folder)

    def answer(self, path):
        """(status, headers, body) for a path."""
        if self.status:
            code, error = self.status
            return code, {"X-Error-Code": error} if error else {}, b"{}"
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        repository = "/".join(parts[2:4] if api else parts[:2])
        known = self.repositories.get(repository)
        if known is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        rest = parts[4:] if api else parts[2:]
        commit, folder = known.get(rest[1] if len(rest) > 1 else "main", (None, None))
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if api:
            if parts[4:5] == ["tree"]:
                names = [(path.name, path.stat().st_size) for path in folder.iterdir()]
                tree = [
                    {"type": "file", "path": name, "size": size, "oid": "0" * 40}
                    for name, size in names
                ]
                return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
            files = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
            said = {"id": repository, "sha": commit, "siblings": files}
            return 200, {"Content-Type": "application/json"}, json.dumps(said).encode()
        file = folder / rest[2]
        if not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        body = file.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        return 200, {"ETag": etag, "X-Repo-Commit": commit}, body


@contextmanager
def served(hub):
    """The address at which a hub answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self):
            path = self.path.partition("?")[0]
            hub.asked.append(f"{self.command} {path}")
            status, headers, body = hub.answer(path)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD = reply

        def log_message(self, *_):
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
