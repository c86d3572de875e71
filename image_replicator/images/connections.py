# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Connections that another thread can break off.

requests and urllib3 have no way to stop a request that waits for a service.
But a request fails at once when another thread shuts its socket down. It then
raises :class:`BrokenOff`, so that the failure is not taken for one of the
service.
"""

import contextlib
import socket
import threading
import weakref
from typing import Any
from typing import Final

import requests
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session

from image_replicator.images import round_trips

_SCHEMES: Final = ("http://", "https://")

#: The most connections to one service that are kept: more than a copy uses.
_MOST_KEPT: Final = 300


class BrokenOff(Exception):
    """A request failed because this process broke its connection off."""


class Connections:
    """The connections of one copy.

    :param shared: the session whose credentials and settings are used; its
        connections are not used.
    :param known_round_trips: where those of new connections are recorded.
    :ivar session: sends requests over these connections. They raise
        :class:`BrokenOff` once the connections are broken off.
    """

    def __init__(
        self,
        shared: ksa_session.Session,
        known_round_trips: round_trips.RoundTrips | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._broken = False
        # The references are weak, so that an unused socket is closed as usual.
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._transport = requests.Session()
        for scheme in _SCHEMES:
            adapter = _Adapter(self, **_tls_options(shared))
            self._transport.mount(scheme, adapter)
        self._round_trips = known_round_trips or round_trips.RoundTrips()
        self.session = _Session(
            self,
            auth=shared.auth,
            session=self._transport,
            verify=shared.verify,
            cert=shared.cert,
            timeout=shared.timeout,
        )

    @property
    def broken(self) -> bool:
        """Whether the connections were broken off, and cannot be used."""
        return self._broken

    def add(self, new: socket.socket, host: str, port: int) -> None:
        """Add a connection that was just made.

        :raises ConnectionAbortedError: if they were broken off.
        """
        seconds = round_trips.of_connection(new)
        if seconds is not None:
            self._round_trips.update(host, port, seconds)
        with self._lock:
            self._sockets.add(new)
            broken = self._broken
        if broken:
            raise ConnectionAbortedError("broken off")

    def round_trip(self, url: str) -> float:
        """Return the seconds of a round trip to a service; 0 if unknown."""
        return self._round_trips.shortest(url)

    def break_off(self) -> None:
        """Make all requests fail, now and later; any thread may call this."""
        with self._lock:
            self._broken = True
            sockets = list(self._sockets)
        for each in sockets:
            with contextlib.suppress(OSError):
                # SSLSocket's own method would change its state while another
                # thread uses it.
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connections that are kept for a next request."""
        self._transport.close()


class Pool:
    """Connections for one copy after the other.

    A copy can use the connections that an earlier copy opened.

    :param shared: as for :class:`Connections`.
    """

    def __init__(self, shared: ksa_session.Session) -> None:
        self._shared = shared
        self._round_trips = round_trips.RoundTrips()
        self._lock = threading.Lock()
        self._free: list[Connections] = []

    def take(self) -> Connections:
        """Return connections that no other copy uses."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return Connections(self._shared, self._round_trips)

    def give_back(self, used: Connections) -> None:
        """Keep connections for a later copy, unless they were broken off."""
        if used.broken:
            used.close()
            return
        with self._lock:
            self._free.append(used)


def _tls_options(shared: ksa_session.Session) -> dict[str, Any]:
    """Return the TLS options of keystoneauth's adapter, if it has any."""
    options = {
        name: getattr(shared, name, None)
        for name in ("tls_ciphers", "tls_min_version")
    }
    return {name: value for name, value in options.items() if value}


def check_not_broken_off(response: requests.Response) -> None:
    """Check that data which ended early was not broken off by us.

    :raises BrokenOff: if this process broke the connection off.
    """
    adapter: Any = response.connection
    if isinstance(adapter, _Adapter) and adapter.connections.broken:
        raise BrokenOff


class _Session(ksa_session.Session):
    """Raises BrokenOff for requests whose connection was broken off."""

    def __init__(self, connections: Connections, **options: Any) -> None:
        self._connections = connections
        super().__init__(**options)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            response: requests.Response = super().request(*args, **kwargs)
        except ksa_exc.ClientException as error:
            if self._connections.broken:
                raise BrokenOff from error
            raise
        return response


class _Adapter(ksa_session.TCPKeepAliveAdapter):
    """Adds each connection that it makes to the copy's connections."""

    def __init__(self, connections: Connections, **options: Any) -> None:
        self.connections = connections
        super().__init__(pool_maxsize=_MOST_KEPT, **options)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._add_connections_of(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            self._add_connections_of(manager)
        return manager

    def _add_connections_of(self, manager: Any) -> None:
        manager.pool_classes_by_scheme = {
            scheme: _adding(pool, self.connections)
            for scheme, pool in manager.pool_classes_by_scheme.items()
        }


def _adding(pool_class: Any, connections: Connections) -> Any:
    """Return a class of urllib3's pools that adds each new connection."""

    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            connections.add(self.sock, self.host, self.port)

    class Pool(pool_class):  # type: ignore[misc]
        ConnectionCls = Connection

    return Pool
