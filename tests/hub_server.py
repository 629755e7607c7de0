"""A hub on loopback that speaks the calls huggingface_hub makes: what a model holds, its files, and an upload."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = 2000  # bytes from which a file is one of git-lfs, with a SHA-256


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b'blob %d\0' % len(content) + content).hexdigest()


@dataclass
class Hub:
    """Its repositories, and what it was asked for."""

    url: str = ''
    commits: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)  # {repository: {commit: files}}
    revisions: dict[str, dict[str, str]] = field(default_factory=dict)
    others: dict[str, bytes] = field(default_factory=dict)  # {file: what is served in its place}
    gone: set[str] = field(default_factory=set)  # files that are listed and not served
    gated: set[str] = field(default_factory=set)
    large: dict[str, bytes] = field(default_factory=dict)  # uploaded, by SHA-256
    asked: list[str] = field(default_factory=list)
    writable: bool = True

    def add(self, repository: str, files: dict[str, bytes], revision: str = 'main') -> str:
        """A commit with these files, which `revision` is from now on."""
        listed = json.dumps({name: git_hash(content) for name, content in files.items()}, sort_keys=True)
        commit = hashlib.sha1(f'{repository} {listed}'.encode()).hexdigest()
        self.commits.setdefault(repository, {})[commit] = files
        self.revisions.setdefault(repository, {})[revision] = commit
        return commit

    def add_folder(self, repository: str, folder: Path, revision: str = 'main') -> str:
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob('*') if p.is_file()}
        return self.add(repository, found, revision)


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()

    class Handler(Answers):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    hub.url = f'http://127.0.0.1:{server.server_address[1]}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.body()
        self.hub.asked.append(f'{self.command} {path}')
        parts = path.strip('/').split('/')
        if self.command in ('GET', 'HEAD') and parts[:2] == ['api', 'models']:
            self.model('/'.join(parts[2:4]), '/'.join(parts[5:]) or 'main')
        elif self.command in ('GET', 'HEAD') and len(parts) > 4 and parts[2] == 'resolve':
            self.file('/'.join(parts[:2]), parts[3], '/'.join(parts[4:]))
        elif not self.hub.writable:
            self.json({'error': 'no'}, 401)
        elif path == '/api/repos/create':
            asked = json.loads(body)
            name = f'{asked["organization"]}/{asked["name"]}'
            self.hub.commits.setdefault(name, {})
            self.json({'url': f'{self.hub.url}/{name}', 'id': name})
        elif path == '/api/validate-yaml':
            self.json({'errors': [], 'warnings': []})
        elif 'preupload' in parts:
            kinds = {f['path']: 'lfs' if f['size'] >= LARGE else 'regular' for f in json.loads(body)['files']}
            answer = [{'path': name, 'uploadMode': kind, 'shouldIgnore': False} for name, kind in kinds.items()]
            self.json({'files': answer})
        elif path.endswith('/info/lfs/objects/batch'):
            objects = [
                {**o, 'actions': {'upload': {'href': f'{self.hub.url}/lfs/{o["oid"]}', 'header': {}}}}
                for o in json.loads(body)['objects']
            ]
            self.json({'transfer': 'basic', 'objects': objects}, kind='application/vnd.git-lfs+json')
        elif parts[0] == 'lfs':
            assert hashlib.sha256(body).hexdigest() == parts[1]
            self.hub.large[parts[1]] = body
            self.json({})
        elif 'commit' in parts:
            self.commit('/'.join(parts[2:4]), body)
        else:
            self.json({'error': f'no such call: {self.command} {path}'}, 404)

    def body(self) -> bytes:
        if self.headers.get('Transfer-Encoding') != 'chunked':
            return self.rfile.read(int(self.headers.get('Content-Length') or 0))
        found = b''
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def commit(self, repository: str, body: bytes) -> None:
        files = {}
        for line in body.splitlines():
            value = json.loads(line)['value']
            if 'oid' in value:
                files[value['path']] = self.hub.large[value['oid']]
            elif 'content' in value:
                files[value['path']] = base64.b64decode(value['content'])
        commit = self.hub.add(repository, files)
        url = f'{self.hub.url}/{repository}/commit/{commit}'
        self.json({'success': True, 'commitUrl': url, 'commitOid': commit})

    def found(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and its files; None after saying that there is none."""
        if repository in self.hub.gated:
            self.json({'error': 'gated'}, 403, code='GatedRepo')
            return None
        if repository not in self.hub.commits:
            self.json({'error': 'Repository not found'}, 404, code='RepoNotFound')
            return None
        commit = self.hub.revisions.get(repository, {}).get(revision, revision)
        if commit not in self.hub.commits[repository]:
            self.json({'error': 'Invalid rev id'}, 404, code='RevisionNotFound')
            return None
        return commit, self.hub.commits[repository][commit]

    def model(self, repository: str, revision: str) -> None:
        if (found := self.found(repository, revision)) is None:
            return
        siblings = []
        for name, content in found[1].items():
            entry = {'rfilename': name, 'size': len(content), 'blobId': git_hash(content)}
            if len(content) >= LARGE:
                digest = hashlib.sha256(content).hexdigest()
                entry['lfs'] = {'sha256': digest, 'size': len(content), 'pointerSize': 130}
            siblings.append(entry)
        self.json({'id': repository, 'modelId': repository, 'sha': found[0], 'siblings': siblings})

    def file(self, repository: str, revision: str, name: str) -> None:
        if (found := self.found(repository, revision)) is None:
            return
        if name not in found[1] or name in self.hub.gone:
            self.json({'error': 'Entry not found'}, 404, code='EntryNotFound')
            return
        content = self.hub.others.get(name, found[1][name])
        digest = hashlib.sha256(content).hexdigest() if len(content) >= LARGE else git_hash(content)
        self.send(content, 200, {'ETag': f'"{digest}"', 'X-Repo-Commit': found[0]})

    def json(self, value, status: int = 200, code: str = '', kind: str = 'application/json') -> None:
        headers = {'Content-Type': kind, **({'X-Error-Code': code} if code else {})}
        self.send(json.dumps(value).encode(), status, headers)

    def send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)
