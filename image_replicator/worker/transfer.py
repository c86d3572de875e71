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

"""The copy of one image: examine, prepare, stream, verify, complete.

After each step, the job's row tells another worker, or an operator, which
image is at the destination.
"""

import functools
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import ParamSpec
from typing import TypeVar

from oslo_config import cfg
from oslo_log import log as logging

from image_replicator import exception
from image_replicator import images
from image_replicator import jobs
from image_replicator import metadata
from image_replicator import nearness
from image_replicator.db import owned_jobs
from image_replicator.errors import ErrorCode
from image_replicator.images import client
from image_replicator.images import connections
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.worker import access
from image_replicator.worker import availability
from image_replicator.worker import buffer
from image_replicator.worker import data_source
from image_replicator.worker import nearest
from image_replicator.worker import new_image
from image_replicator.worker import outcome
from image_replicator.worker import proof
from image_replicator.worker import range_reader
from image_replicator.worker import rate
from image_replicator.worker import stream
from image_replicator.worker import tuner
from image_replicator.worker import upload
from image_replicator.worker import verification

LOG = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Stopped(Exception):
    """The copy was stopped from outside.

    :param reason: why.
    """

    def __init__(self, reason: outcome.StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Transfer:
    """The copy of one image, by one claim.

    :param job: the job.
    :param claim: the claim by which this worker owns the job.
    :param owned: writes the job's row.
    :param database: the availability of the database.
    :param open_access: returns both image services, with the job's right.
    :param connections: the connections to both image services.
    :param rules: which properties are copied.
    :param options: ``[transfer]`` of the configuration.
    :param memory: has a share of it for the image.
    :param bandwidth: limit that all copies of this worker share.
    :param sources: finds where the image's bytes can be read.
    :ivar access: both image services, once the copy has begun.
    """

    def __init__(
        self,
        job: Job,
        claim: Claim,
        *,
        owned: owned_jobs.OwnedJobs,
        database: availability.DatabaseAvailability,
        open_access: Callable[[], access.Access],
        connections: connections.Connections,
        rules: metadata.Rules,
        options: cfg.ConfigOpts.GroupAttr,
        memory: buffer.Buffer,
        bandwidth: rate.Limiter,
        sources: nearest.NearestSource,
    ) -> None:
        self.job = job
        self.claim = claim
        self._owned = owned
        self._database = database
        self._open_access = open_access
        self._proof: proof.Proof | None = None
        self.access: access.Access | None = None
        self.connections = connections
        self._rules = rules
        self._options = options
        self._memory = memory
        self._limits = (bandwidth, rate.Limiter(options.bandwidth_limit))
        self._sources = sources
        self._source_data: data_source.DataSource | None = None
        self._stream: stream.ImageStream | None = None
        self._smoothed_rate = rate.Smoothed()
        self._lock = threading.Lock()
        self._released = False
        self._stopping = threading.Event()
        self._stop_reason: outcome.StopReason | None = None

    @property
    def bytes_copied(self) -> int:
        """Number of bytes that the destination has taken."""
        return self._stream.bytes_copied if self._stream else 0

    @property
    def read_from(self) -> nearness.Replica | None:
        """The image that the bytes come from; None before it is chosen."""
        return self._source_data.read_from if self._source_data else None

    def smoothed_rate(self) -> int | None:
        """Return bytes per second; to be called in regular intervals."""
        if self._stream is None:
            return None
        return self._smoothed_rate.update(self._stream.bytes_copied)

    def stop(self, reason: outcome.StopReason) -> None:
        """Stop the copy, from another thread. The first reason counts."""
        with self._lock:
            self._stop_reason = self._stop_reason or reason
            self._stopping.set()
            if not self._released:
                self.connections.break_off()

    def release(self) -> connections.Connections:
        """Return the connections; a later stop does not break them off."""
        with self._lock:
            self._released = True
        return self.connections

    def run(self) -> outcome.Replicated | outcome.Skipped:
        """Copy the image, unless the job wants that one is not copied twice.

        When it returns, the destination's image is complete, verified and as
        protected as the source's. The job's status is not changed yet.

        :raises TransferError: if the copy failed.
        :raises Stopped: if it was stopped.
        :raises ClaimLost: if another worker owns the job by now.
        """
        try:
            self.access = self._call(self._open_access)
            self._proof = proof.Proof(self.job, self.access)
            return self._copy(self._proof)
        except connections.BrokenOff:
            # A stop breaks the connections off.
            self._check_stop()
            raise
        except exception.TransferError as error:
            self._check_stop()
            raise self._explained(error) from error
        finally:
            # A stop while the end is written must not break them off.
            self.release()

    @property
    def _source(self) -> client.ImageClient:
        assert self.access  # nosec B101: set at the begin
        return self.access.source

    @property
    def _destination(self) -> client.ImageClient:
        assert self.access  # nosec B101: set at the begin
        return self.access.destination

    def _explained(
        self, error: exception.TransferError
    ) -> exception.TransferError:
        return self._proof.explained(error) if self._proof else error

    def _copy(
        self, right: proof.Proof
    ) -> outcome.Replicated | outcome.Skipped:
        image = right.begin()
        new = new_image.NewImage(
            self.job, self.claim, self._owned, self._call, self._destination
        )
        if present := self._present(image, new):
            return outcome.Skipped(present)
        carried = self._carried(image)
        source = verification.SourceData(image, again=self.job.attempts > 1)
        data = self._stream = self._new_stream(
            image, source.hashers, functools.partial(right.confirm, image)
        )
        places = self._source_data
        assert places  # nosec B101: set with the stream
        try:
            # The first bytes are on their way while the image is created.
            data.start()
            self._check_stop()
            new.remove_earlier()
            image_id = new.create(carried, places.read_from)
            began = time.monotonic()
            self._upload(image_id, data)
            seconds = time.monotonic() - began
            self._record_way(places, data, seconds)
        finally:
            data.close()
        self._check_stop()
        evidence = verification.verify(
            self._destination,
            image_id,
            image["size"],
            source,
            self._read_back,
        )
        LOG.info("Job %s: verified, %s", self.job.id, evidence)
        right.renew(image)
        self._check_stop()
        new.complete(image, carried, image_id)
        self._check_stop()
        rate = round(image["size"] / seconds) if image["size"] else None
        return outcome.Replicated(evidence, rate, places.read_from)

    def _present(
        self, image: images.Image, new: new_image.NewImage
    ) -> jobs.Present | None:
        """Return the image that makes the copy needless, if there is one."""
        if self.job.if_present is not jobs.IfPresent.SKIP:
            return None
        # An earlier attempt's image must not be taken for the tenant's.
        new.remove_earlier()
        self._check_stop()
        return self._destination.find_present(
            image,
            self.job.destination_tenant_id,
            self.job.destination_image_name,
            metadata.is_marked,
        )

    def _carried(self, image: images.Image) -> images.Image:
        """Return the properties that the copy gets."""
        try:
            return metadata.travelling(image, self._rules)
        except exception.MetadataRefused as error:
            raise exception.TransferError(
                ErrorCode.METADATA_REFUSED, error.message
            ) from error

    def _call(
        self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a method of a store; wait while the database is away."""
        try:
            return self._database.call_until_available(
                self._stopping, method, *args, **kwargs
            )
        except Exception:
            self._check_stop()
            raise

    def _new_stream(
        self,
        image: images.Image,
        hashers: Sequence[stream.Hasher],
        confirm: Callable[[], None],
    ) -> stream.ImageStream:
        options = self._options
        assert self.access  # nosec B101: set at the begin
        places = self._source_data = self._call(
            self._sources.open, self.job, image, self.access
        )
        return stream.ImageStream(
            places.begin,
            image["size"],
            tuner=tuner.Tuner(
                options.min_streams,
                options.max_streams,
                self.connections.round_trip(places.url),
                places.known_streams,
            ),
            waited=places.waited,
            window=self._memory.share,
            chunk_size=options.chunk_size,
            limits=self._limits,
            minimum=rate.Minimum(
                options.min_rate,
                # A source may be silent for as long as a read may take.
                max(options.min_rate_period, 2 * options.read_timeout),
            ),
            silence=range_reader.longest_silence(
                options.connect_timeout, options.read_timeout
            ),
            wait=self._wait,
            abort=self.connections.break_off,
            confirm=confirm,
            hashers=hashers,
        )

    def _record_way(
        self,
        places: data_source.DataSource,
        data: stream.ImageStream,
        seconds: float,
    ) -> None:
        """Record how fast the bytes came, for later copies."""
        way = nearness.Route(
            latency=data.latency,
            rate=self.job.image_size / seconds,
            streams=data.streams,
        )
        self._sources.record(self.job, places, way)

    def _upload(self, image_id: str, data: stream.ImageStream) -> None:
        upload.upload(
            self._destination,
            image_id,
            data,
            patience=self._options.upload_response_timeout,
            wait=self._wait,
        )

    def _wait(self, seconds: float) -> None:
        """Wait; raise Stopped if the copy is stopped."""
        if seconds:
            self._stopping.wait(seconds)
        self._check_stop()

    def _read_back(self, image_id: str, size: int) -> range_reader.RangeReader:
        return range_reader.RangeReader(
            lambda first, last: self._destination.download(
                image_id, first, last
            ),
            size,
            0,
            size,
            chunk_size=self._options.chunk_size,
            wait=self._wait,
            on_failure=_log_resumption,
            skip=True,
        )

    def _check_stop(self) -> None:
        if self._stop_reason:
            raise Stopped(self._stop_reason)


def _log_resumption(error: exception.TransferError) -> None:
    LOG.info("%s Taking it up again.", error.message)
