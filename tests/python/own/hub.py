"""A writable Hub in this process, in which huggingface_hub's tests make their repos.

The other tests use the Hub of `tests/hub`, which knows the Hub's faults and is read only.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

_ROUTE = re.compile(r"/api/(models|datasets|spaces)/([^/]+(?:/[^/]+)??)(?:/(revision|tree|paths-info|preupload|commit|branch|refs|settings)(?:/(.*))?)?")


class Repo:
    """Its commits, each a whole tree of path to (bytes, whether it is in LFS), and what names point to them."""

    def __init__(self, private=False):
        self.private, self.gated = private, False
        self.commits, self.refs, self.order = {}, {}, []
        self.commit({".gitattributes": (b"*.bin filter=lfs diff=lfs merge=lfs -text\n", False)}, "main")

    def commit(self, tree, ref, oid=None):
        seed = f"{len(self.order)}{id(self)}{sorted(tree)}".encode()
        oid = oid or hashlib.sha1(seed, usedforsecurity=False).hexdigest()
        self.commits[oid] = tree
        self.refs[ref] = oid
        self.order.append(oid)
        return oid

    def resolve(self, revision):
        return revision if revision in self.commits else self.refs.get(revision)


def git_oid(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Hub:
    """The server, and its content."""

    def __init__(self, owner, token, other_token):
        self.owner, self.token, self.other_token = owner, token, other_token
        self.repos, self.moved, self.objects = {}, {}, {}
        hub = self

        class Handler(_Handler):
            state = hub

        self.url, self.storage = (self.listen(Handler, address) for address in ("127.0.0.1", "127.0.0.2"))

    @staticmethod
    def listen(handler, address):
        """Starts a server. The files of LFS are on another host than the Hub."""
        server = http.server.ThreadingHTTPServer((address, 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://{address}:{server.server_address[1]}"

    def add(self, kind, name, tree, *, commit=None, refs=(), old_names=()):
        """A repo that exists from the start."""
        repo = Repo()
        head = repo.commit(tree, "main", commit)
        for ref in refs:
            repo.refs[ref] = head
        self.repos[kind, name] = repo
        for old in old_names:
            self.moved[kind, old] = name
        return head


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value, status=200):
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def refuse(self, status, code, message):
        self.answer(status, json.dumps({"error": message}).encode(), X_Error_Code=code, X_Error_Message=message)

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(address.query))
        self.who = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.who not in ("", self.state.token, self.state.other_token):
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif address.path.startswith("/lfs/"):
            self.lfs_object(address.path.removeprefix("/lfs/"), body)
        elif address.path.endswith("/info/lfs/objects/batch"):
            self.lfs_batch(json.loads(body))
        elif address.path == "/api/whoami-v2":
            self.json({"name": self.state.owner, "type": "user", "orgs": []})
        elif address.path.startswith("/api/repos/"):
            self.manage(address.path.removeprefix("/api/repos/"), json.loads(body))
        elif address.path.startswith("/api/resolve-cache/"):
            kind, owner, name, rest = address.path.removeprefix("/api/resolve-cache/").split("/", 3)
            self.file(kind, f"{owner}/{name}", rest, cached=True)
        elif address.path.startswith("/api/"):
            self.api(address.path, body)
        else:
            self.resolve(address.path)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def find(self, kind, name, *, files=False):
        """The repo, or `None` after the refusal or redirect was sent."""
        to = self.state.moved.get((kind, name))
        if to is not None:
            self.answer(307, b"Temporary Redirect", Location=self.path.replace(name, to, 1))
            return None
        repo = self.state.repos.get((kind, name))
        if repo is None or (repo.private and self.who != self.state.token):
            self.refuse(404 if self.who else 401, "RepoNotFound", "Repository not found")
            return None
        if files and repo.gated and self.who != self.state.token:
            why = f"Access to model {name} is restricted and you are not in the authorized list."
            self.refuse(403 if self.who else 401, "GatedRepo", why)
            return None
        return repo

    def manage(self, verb, asked):
        kind = f"{asked.get('type') or 'model'}s"
        if verb == "move":
            repo = self.state.repos.pop((kind, asked["fromRepo"]))
            self.state.repos[kind, asked["toRepo"]] = repo
            self.state.moved[kind, asked["fromRepo"]] = asked["toRepo"]
            self.state.moved.pop((kind, asked["toRepo"]), None)
            return self.json({})
        name = f"{asked.get('organization') or self.state.owner}/{asked['name']}"
        if verb == "delete":
            self.state.repos.pop((kind, name), None)
            return self.json({})
        private = asked.get("private") or asked.get("visibility") == "private"
        self.state.repos[kind, name] = Repo(private=bool(private))
        prefix = "" if kind == "models" else f"{kind}/"
        self.json({"url": f"{self.state.url}/{prefix}{name}", "id": name, "name": name})

    def api(self, path, body):
        found = _ROUTE.fullmatch(path)
        if found is None:
            return self.refuse(404, "", "Not found")
        kind, name, verb, rest = found[1], urllib.parse.unquote(found[2]), found[3], found[4] or ""
        repo = self.find(kind, name)
        if repo is None:
            return None
        if verb == "settings":
            asked = json.loads(body)
            repo.gated = asked.get("gated", repo.gated)
            repo.private = asked.get("private", repo.private)
            if "visibility" in asked:
                repo.private = asked["visibility"] == "private"
            return self.json({})
        if verb == "refs":
            rows = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.refs.items() if "/" not in n]
            return self.json({"branches": rows, "converts": [], "tags": []})
        revision, _, below = rest.partition("/")
        revision = urllib.parse.unquote(revision) or "main"
        if verb == "branch":
            repo.refs[revision] = repo.resolve(json.loads(body or b"{}").get("startingPoint") or "main")
            return self.json({})
        oid = repo.resolve(revision)
        if oid is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        tree = repo.commits[oid]
        if verb == "preupload":
            files = json.loads(body)["files"]
            mode = {True: "lfs", False: "regular"}
            rows = [{"path": f["path"], "uploadMode": mode[f["path"].endswith(".bin")], "shouldIgnore": False} for f in files]
            return self.json({"files": rows})
        if verb == "commit":
            return self.commit(repo, kind, name, revision, tree, body)
        if verb == "paths-info":
            asked = urllib.parse.parse_qs(body.decode()) if b"=" in body[:20] else json.loads(body)
            return self.json([self.row(p, *tree[p]) for p in asked["paths"] if p in tree])
        if verb == "tree":
            return self.json(self.listing(tree, urllib.parse.unquote(below), self.query.get("recursive", "").lower() == "true"))
        info = {"id": name, "modelId": name, "sha": oid, "private": repo.private, "gated": repo.gated, "disabled": False}
        self.json({**info, "tags": [], "siblings": [{"rfilename": path} for path in sorted(tree)]})

    def commit(self, repo, kind, name, revision, tree, body):
        tree = dict(tree)
        for line in body.decode().splitlines():
            one = json.loads(line)
            value = one["value"]
            if one["key"] == "file":
                tree[value["path"]] = (base64.b64decode(value["content"]), False)
            elif one["key"] == "lfsFile":
                tree[value["path"]] = (self.state.objects[value["oid"]], True)
        oid = repo.commit(tree, revision)
        self.json({"success": True, "commitOid": oid, "commitUrl": f"{self.state.url}/{name}/commit/{oid}", "hookOutput": ""})

    @staticmethod
    def row(path, data, lfs):
        if not lfs:
            return {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (sha256(data).encode(), len(data))
        about = {"oid": sha256(data), "size": len(data), "pointerSize": len(pointer)}
        return {"type": "file", "path": path, "size": len(data), "oid": git_oid(pointer), "lfs": about}

    def listing(self, tree, below, recursive):
        below = below.rstrip("/") + "/" if below else ""
        rows, folders = [], set()
        for path in sorted(path for path in tree if path.startswith(below)):
            parts = path[len(below) :].split("/")
            depth = len(parts) if recursive else min(len(parts), 2)
            for at in range(1, depth):
                folder = below + "/".join(parts[:at])
                if folder not in folders:
                    folders.add(folder)
                    rows.append({"type": "directory", "path": folder, "size": 0, "oid": git_oid(folder.encode())})
            if recursive or len(parts) == 1:
                rows.append(self.row(path, *tree[path]))
        return rows

    def lfs_batch(self, asked):
        action = lambda oid: {"upload": {"href": f"{self.state.url}/lfs/{oid}", "header": {}}}  # noqa: E731
        rows = [{"oid": o["oid"], "size": o["size"], "actions": action(o["oid"])} for o in asked["objects"]]
        self.json({"transfer": "basic", "objects": rows})

    def lfs_object(self, oid, body):
        if self.command == "PUT":
            self.state.objects[oid] = body
            return self.answer(200)
        data = self.state.objects.get(oid)
        return self.refuse(404, "", "Not found") if data is None else self.bytes(data, {"ETag": f'"{oid}"'})

    def bytes(self, data, headers):
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self.answer(200, data, Accept_Ranges="bytes", **headers)
        first, last = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if first > last:
            return self.answer(416, Content_Range=f"bytes */{len(data)}")
        return self.answer(206, data[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(data)}", **headers)

    def resolve(self, path):
        place, _, rest = path.lstrip("/").partition("/resolve/")
        kind = next((k for k in ("datasets", "spaces") if place.startswith(f"{k}/")), "models")
        self.file(kind, urllib.parse.unquote(place.removeprefix(f"{kind}/")), rest, cached=False)

    def file(self, kind, name, rest, *, cached):
        repo = self.find(kind, name, files=True)
        if repo is None:
            return None
        revision, _, file = rest.partition("/")
        revision, file = urllib.parse.unquote(revision), urllib.parse.unquote(file)
        oid = repo.resolve(revision)
        if oid is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if file not in repo.commits[oid]:
            message = {"X-Repo-Commit": oid, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return self.answer(404, b"Entry not found", **message)
        data, lfs = repo.commits[oid][file]
        if not lfs:
            about = {"ETag": f'"{git_oid(data)}"', "X-Repo-Commit": oid, "X-Linked-Size": str(len(data))}
            if cached:
                return self.bytes(data, about)
            place = f"/api/resolve-cache/{kind}/{name}/{oid}/{urllib.parse.quote(file)}"
            return self.answer(307, b"Temporary Redirect", Location=place, **about)
        digest = sha256(data)
        self.state.objects[digest] = data
        about = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "X-Repo-Commit": oid}
        self.answer(302, b"Found", Location=f"{self.state.storage}/lfs/{digest}", **about)
