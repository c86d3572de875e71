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
from typing import Any
from typing import ParamSpec
from typing import TypeVar

from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import uuidutils

from image_replicator import exception
from image_replicator import images
from image_replicator import jobs
from image_replicator import metadata
from image_replicator.db import owned_jobs
from image_replicator.errors import ErrorCode
from image_replicator.images import answers
from image_replicator.images import client
from image_replicator.images import connections
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.worker import access
from image_replicator.worker import availability
from image_replicator.worker import buffer
from image_replicator.worker import data_source
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
    ) -> None:
        self.job = job
        self.claim = claim
        self._owned = owned
        self._earlier_image_id = job.reserved_image_id
        self._database = database
        self._open_access = open_access
        self._proof: proof.Proof | None = None
        self.access: access.Access | None = None
        self.connections = connections
        self._rules = rules
        self._options = options
        self._memory = memory
        self._limits = (bandwidth, rate.Limiter(options.bandwidth_limit))
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
        if present := self._present(image):
            return outcome.Skipped(present)
        carried = self._carried(image)
        source = verification.SourceData(image, again=self.job.attempts > 1)
        data = self._stream = self._new_stream(
            image, source.hashers, functools.partial(right.confirm, image)
        )
        try:
            # The first bytes are on their way while the image is created.
            data.start()
            image_id = self._prepare_destination(carried)
            began = time.monotonic()
            self._upload(image_id, data)
            seconds = time.monotonic() - began
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
        self._complete(image, carried, image_id)
        self._check_stop()
        return outcome.Replicated(
            evidence,
            round(image["size"] / seconds) if image["size"] else None,
        )

    def _present(self, image: images.Image) -> jobs.Present | None:
        """Return the image that makes the copy needless, if there is one."""
        if self.job.if_present is not jobs.IfPresent.SKIP:
            return None
        # An earlier attempt's image must not be taken for the tenant's.
        self._remove_earlier_image()
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

    def _prepare_destination(self, carried: images.Image) -> str:
        """Commit the image's id, then create the image without data."""
        self._check_stop()
        self._remove_earlier_image()
        image_id = uuidutils.generate_uuid()
        self._call(self._owned.reserve_image, self.claim, image_id)
        self._create(self._new_image(carried, image_id))
        self._call(self._owned.image_created, self.claim, image_id)
        return image_id

    def _new_image(self, carried: images.Image, image_id: str) -> images.Image:
        """Return the image as it is created, private and marked."""
        image = {
            **carried,
            "id": image_id,
            "owner": self.job.destination_tenant_id,
            "visibility": "private",
            "tags": metadata.marked(
                carried.get("tags", ()), self.job.source_region_id
            ),
        }
        if self.job.destination_image_name is not None:
            image["name"] = self.job.destination_image_name
        return image

    def _remove_earlier_image(self) -> None:
        """Remove the image that an earlier attempt could not remove.

        It is not completed instead, even if it has all its data: the worker
        that lost the job may be about to delete it, and may have been halted
        since. Only an id that no other attempt knows is safe from that.
        """
        image_id = self._earlier_image_id
        if image_id is None:
            return
        try:
            self._destination.remove(
                image_id, exists=self.job.destination_image_id is not None
            )
        except exception.TransferError as error:
            raise exception.TransferError(
                error.code,
                "The image of an earlier attempt could not be removed. "
                f"{error.message}",
            ) from error
        self._call(self._owned.image_removed, self.claim)
        self._earlier_image_id = None

    def _create(self, image: images.Image) -> None:
        try:
            self._destination.create(image)
        except answers.Refused:
            # Only a refusal makes it certain that no image exists.
            self._call(self._owned.image_removed, self.claim)
            raise

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
        source = data_source.DataSource(
            self._source, self.access.gateway_for(self.job), image["size"]
        )
        return stream.ImageStream(
            lambda first, last: source.download(image["id"], first, last),
            image["size"],
            tuner=tuner.Tuner(
                options.min_streams,
                options.max_streams,
                self.connections.round_trip(self._source.url),
            ),
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

    def _complete(
        self, image: images.Image, carried: images.Image, image_id: str
    ) -> None:
        """Remove the mark, so that the user can use the image."""
        final: dict[str, Any] = {"tags": carried.get("tags", [])}
        if image.get("protected"):
            final["protected"] = True
        self._destination.change(image_id, **final)

    def _check_stop(self) -> None:
        if self._stop_reason:
            raise Stopped(self._stop_reason)


def _log_resumption(error: exception.TransferError) -> None:
    LOG.info("%s Taking it up again.", error.message)
