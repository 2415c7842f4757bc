#!/usr/bin/env python3
"""A server with Amazon's protocol that keeps no large object:  python3 benches/sink.py PORT FOLDER

It takes 2 GiB in a third of a second of processor time, so an upload into it shows what the client costs. It checks no signature,
and forgets what it gets, except objects up to 100 kB. If a client reads a range of another object, the bytes come from the file
FOLDER/NAME, where NAME is the last part of the key. So it proves nothing about an upload: the tests use moto for that.
"""

import http.server
import re
import socket
import socketserver
import sys
import threading
import urllib.parse
from pathlib import Path
from xml.sax.saxutils import escape, unescape

KEPT = 100_000
FOLDER = Path(sys.argv[2])
TAG = '"sink"'
TIME = "Fri, 27 Nov 2026 10:00:00 GMT"

# By key: the size, and the content if it is kept.
objects: dict[str, tuple[int, bytes | None]] = {}
# By upload: the bytes so far.
uploads: dict[str, int] = {}
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The head and the body of an answer leave together: otherwise the second waits for an acknowledgement of the first.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.buffer = memoryview(bytearray(4 << 20))

    def log_message(self, *_) -> None:
        pass

    def body(self) -> tuple[int, bytes | None]:
        """The size of the request's body, and the body if it is small."""
        size, kept = int(self.headers.get("content-length", 0)), b""
        if size <= KEPT:
            kept = self.rfile.read(size)
            if len(kept) < size:
                raise ConnectionError
            return size, kept
        # What came with the head. Nothing comes after the body before its answer.
        left = size - len(self.rfile.read1(size))
        while left > 0:
            # The system drops the bytes and copies nothing: a store's own work is not what is measured.
            read = self.connection.recv_into(self.buffer, min(len(self.buffer), left), socket.MSG_TRUNC)
            if read == 0:
                raise ConnectionError
            left -= read
        return size, None

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        headers = {"content_length": str(len(body)), "etag": TAG, "last_modified": TIME, **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        for name in ("x-amz-checksum-crc64nvme", "x-amz-checksum-sha256"):
            if name in self.headers:
                self.send_header(name, self.headers[name])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def key_and_query(self) -> tuple[str, dict[str, str]]:
        url = urllib.parse.urlsplit(self.path)
        key = urllib.parse.unquote(url.path).removeprefix("/bucket/")
        return key, dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))

    def do_PUT(self) -> None:
        key, query = self.key_and_query()
        size, content = self.body()
        with lock:
            if "uploadId" in query:
                uploads[query["uploadId"]] += size
            elif key != "/bucket":
                objects[key] = (size, content)
        self.answer(200)

    def do_POST(self) -> None:
        key, query = self.key_and_query()
        _, content = self.body()
        if "uploads" in query:
            with lock:
                name = str(len(uploads))
                uploads[name] = 0
            body = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
        elif "uploadId" in query:
            objects[key] = (uploads[query["uploadId"]], None)
            body = f"<CompleteMultipartUploadResult><ETag>{escape(TAG)}</ETag></CompleteMultipartUploadResult>"
        else:
            keys = re.findall("<Key>(.*?)</Key>", (content or b"").decode())
            for key in keys:
                objects.pop(unescape(key), None)
            rows = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            body = f"<DeleteResult>{rows}</DeleteResult>"
        self.answer(200, body.encode())

    def do_DELETE(self) -> None:
        objects.pop(self.key_and_query()[0], None)
        self.answer(204)

    def do_HEAD(self) -> None:
        key, _ = self.key_and_query()
        if key in objects:
            self.answer(200, content_length=str(objects[key][0]))
        else:
            self.answer(404)

    def do_GET(self) -> None:
        key, query = self.key_and_query()
        if "list-type" in query:
            rows = "".join(
                f"<Contents><Key>{escape(name)}</Key><LastModified>2026-11-27T10:00:00.000Z</LastModified>"
                f"<ETag>{escape(TAG)}</ETag><Size>{size}</Size></Contents>"
                for name, (size, _) in sorted(objects.items())
                if name.startswith(query.get("prefix", ""))
            )
            body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
            return self.answer(200, body.encode())
        if key not in objects:
            return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        size, content = objects[key]
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        first, last = (int(asked[1]), min(int(asked[2]), size - 1)) if asked else (0, size - 1)
        if content is None:
            path = FOLDER / key.rpartition("/")[2]
            if not path.is_file():
                return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            with open(path, "rb") as file:
                file.seek(first)
                body = file.read(last - first + 1)
        else:
            body = content[first : last + 1]
        if asked:
            return self.answer(206, body, content_range=f"bytes {first}-{last}/{size}")
        return self.answer(200, body)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
