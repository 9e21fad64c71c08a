"""A registry of the OCI distribution specification, 1.1, spoken over `http.client`: blobs and manifests by digest.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. It runs on devices inside the
image, so it needs nothing but Python. Downloads go on where they were cut off, and nothing is
taken that is not what its digest says.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_rnn.contract.errors import RegistryError

PIECE = 1 << 20
TRIES = 5
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Login:
    """User and password of one registry; empty: none."""

    user: str = ""
    password: str = ""

    @property
    def basic(self) -> str:
        """Value of an ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def login_for(auth: bytes, host: str) -> Login:
    """The login for a host from a file as podman and docker write it (``{"auths": {HOST: {"auth": ...}}}``)."""
    if not auth.strip():
        return Login()
    try:
        entry = json.loads(auth).get("auths", {}).get(host, {})
        user, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except (ValueError, AttributeError) as error:
        raise RegistryError(f"the registry's login file cannot be read: {type(error).__name__}") from error
    return Login(user, password)


@dataclass
class Registry:
    """One repository of one registry, such as ``registry.example:5000/edge/activity``."""

    repository: str
    login: Login = field(default_factory=Login)
    insecure: bool = False
    timeout_s: float = 60.0
    _token: str = ""

    @property
    def host(self) -> str:
        """``HOST[:PORT]``."""
        return self.repository.partition("/")[0]

    @property
    def name(self) -> str:
        """The repository within its registry."""
        return self.repository.partition("/")[2]

    def has(self, kind: str, reference: str) -> bool:
        """Whether a blob (``blobs``) or manifest (``manifests``) is there."""
        answer = self._send("HEAD", f"/v2/{self.name}/{kind}/{reference}", accept=(200, 404))
        return answer.status == 200

    def put_blob(self, data: bytes) -> str:
        """Upload a blob, unless it is there. Returns its digest."""
        digest = digest_of(data)
        if self.has("blobs", digest):
            return digest
        begun = self._send("POST", f"/v2/{self.name}/blobs/uploads/", accept=(202,))
        place = urllib.parse.urlsplit(begun.headers.get("Location", ""))
        query = f"{place.query}&" if place.query else ""
        path = f"{place.path}?{query}digest={urllib.parse.quote(digest)}"
        self._send("PUT", path, data, {"Content-Type": "application/octet-stream"}, accept=(201,))
        return digest

    def put_manifest(self, data: bytes, media_type: str, tag: str | None = None) -> str:
        """Upload a manifest under its digest, or a tag. Returns the digest."""
        digest = digest_of(data)
        self._send(
            "PUT", f"/v2/{self.name}/manifests/{tag or digest}", data, {"Content-Type": media_type}, accept=(201,)
        )
        return digest

    def manifest(self, digest: str) -> bytes:
        """A manifest by digest. Raises `RegistryError` where it is another one."""
        kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
        data = self._send("GET", f"/v2/{self.name}/manifests/{digest}", headers={"Accept": kinds}).body
        if digest_of(data) != digest:
            raise RegistryError(f"{self.repository}@{digest}: the registry gave {digest_of(data)}; it is not used")
        return data

    def fetch_blob(self, digest: str, size: int, to: Path) -> int:
        """Download a blob to a file; what is there already is kept. Returns the bytes that went over the wire."""
        fetched = 0
        for attempt in range(TRIES):
            have = to.stat().st_size if to.exists() else 0
            if have > size:
                to.unlink()
                have = 0
            if have == size:
                break
            try:
                fetched += self._fetch_from(digest, have, to)
            except (OSError, http.client.HTTPException) as error:
                if attempt == TRIES - 1:
                    raise RegistryError(f"{self.repository}: {digest} broke off {TRIES} times: {error}") from error
        if file_digest(to) != digest:
            to.unlink()
            raise RegistryError(f"{self.repository}: what was fetched is not {digest}; it is thrown away, try again")
        return fetched

    def _fetch_from(self, digest: str, have: int, to: Path) -> int:
        path, headers = f"/v2/{self.name}/blobs/{digest}", {"Range": f"bytes={have}-"} if have else {}
        connection = self._connect()
        try:
            answer = self._exchange(connection, "GET", path, b"", headers)
            if answer.status in (301, 302, 307, 308):
                raise RegistryError(f"{self.repository} sends blobs from another host, which is not followed")
            if answer.status not in (200, 206):
                raise RegistryError(f"{self.repository}: {digest} cannot be fetched: status {answer.status}")
            fetched = 0
            with to.open("ab" if answer.status == 206 else "wb") as file:
                while piece := answer.read(PIECE):
                    file.write(piece)
                    fetched += len(piece)
            return fetched
        finally:
            connection.close()

    # -- requests -----------------------------------------------------------------------------------------------------

    def _connect(self) -> http.client.HTTPConnection:
        if self.insecure:
            return http.client.HTTPConnection(self.host, timeout=self.timeout_s)
        return http.client.HTTPSConnection(self.host, timeout=self.timeout_s, context=ssl.create_default_context())

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """One request; where the registry asks for a token, it is fetched once and the request is sent again."""
        for last in (False, True):
            sent = {**headers, **({"Authorization": self._token} if self._token else {})}
            connection.request(method, path, body or None, sent)
            answer = connection.getresponse()
            if answer.status != 401 or last:
                return answer
            answer.read()
            self._token = self._authorize(answer.headers.get("WWW-Authenticate", ""))
        raise RegistryError(f"{self.repository} refuses its own token")

    def _authorize(self, challenge: str) -> str:
        """Value of ``Authorization`` that answers a challenge: Basic, or a token of the service that it names."""
        if challenge.lower().startswith("basic"):
            return self.login.basic
        said = dict(_CHALLENGE.findall(challenge))
        if not said.get("realm"):
            raise RegistryError(f"{self.repository} asks for a login that is not understood: {challenge[:60]!r}")
        realm = urllib.parse.urlsplit(said["realm"])
        query = urllib.parse.urlencode({key: said[key] for key in ("service", "scope") if key in said})
        kind = http.client.HTTPSConnection if realm.scheme == "https" else http.client.HTTPConnection
        if realm.scheme != "https" and not self.insecure:
            raise RegistryError(f"{self.repository} wants its login sent in the clear to {realm.netloc}; it is not")
        connection = kind(realm.netloc, timeout=self.timeout_s)
        try:
            headers = {"Authorization": self.login.basic} if self.login.user else {}
            connection.request("GET", f"{realm.path}?{query}", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RegistryError(f"{self.repository}: no token, status {answer.status}; log in with podman login")
            found = json.loads(body)
            return f"Bearer {found.get('token') or found.get('access_token')}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise RegistryError(f"{self.repository}: no token from {realm.netloc}: {error}") from error
        finally:
            connection.close()

    def _send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        accept: tuple[int, ...] = (200,),
    ) -> _Answer:
        connection = self._connect()
        try:
            answer = self._exchange(connection, method, path, body, headers or {})
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise RegistryError(f"the registry {self.host} does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status not in accept:
            said = data.decode(errors="replace").strip()[:200]
            raise RegistryError(f"{self.repository}: {method} gave status {answer.status}: {said}")
        return _Answer(answer.status, dict(answer.headers), data)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def digest_of(data: bytes) -> str:
    """``sha256:...`` of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def file_digest(path: Path) -> str:
    """``sha256:...`` of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def login_file(environment: Mapping[str, str]) -> bytes:
    """The login file that podman or docker wrote for this user; empty: none."""
    home = Path(environment.get("HOME", "/root"))
    runtime = environment.get("XDG_RUNTIME_DIR", "/run")
    places = [environment.get("REGISTRY_AUTH_FILE"), f"{runtime}/containers/auth.json", "/run/containers/0/auth.json"]
    for place in [*places, str(home / ".config/containers/auth.json"), str(home / ".docker/config.json")]:
        if place and Path(place).is_file():
            return Path(place).read_bytes()
    return b""
