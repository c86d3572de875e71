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

"""The properties of an image that its copy has."""

import json
import pathlib
from typing import Any

import fixtures
import requests

from devcloud import qcow2
from image_replicator.tests.functional.cloud import base

UUID = "6b3c3a52-1d5b-4c4f-9e0c-2f6f2f5a7c11"

#: Properties that are copied unchanged.
TRAVELLING: dict[str, Any] = {
    "name": "Übung 映像 ☃",  # Glance takes no more than three bytes each
    "disk_format": "qcow2",
    "container_format": "bare",
    "min_disk": 7,
    "min_ram": 512,
    "os_hidden": True,
    "tags": ["tested", "größer", "x" * 255],
    "trait:HW_CPU_X86_AVX2": "required",
    "trait:CUSTOM_GOLD": "forbidden",
    "hw_disk_bus": "virtio",
    "architecture": "x86_64",
    "os_distro": "debian",
    "os_version": "12",
    "img_signature_hash_method": "SHA-256",
    "größe": "schön ☃",
    "empty": "",
    "long": "v" * 255,
    "Upper_Case": "Yes",
    "ownership": "mine",
    "image_types": "many",
    "my_owner_x": "kept",
    "owner_specified.openstack.md5": "0" * 32,
}

#: Properties that are not copied.
DROPPED = {
    "instance_uuid": UUID,
    "base_image_ref": UUID,
    "user_id": "somebody",
    "image_location": "snapshot",
    "image_state": "available",
    "image_type": "snapshot",
    "owner_id": "somebody",
    "owner_project_name": "something",
    "owner_user_name": "somebody",
    "boot_roles": "member,reader",
    "bittorrent": "yes",
    "cache_in_nova": "True",
}

#: Properties that forbid the copy of an image.
REFUSED: dict[str, Any] = {
    "kernel_id": UUID,
    "ramdisk_id": UUID,
    "cinder_encryption_key_id": UUID,
    "cinder_encryption_key_deletion_policy": "do_not_delete",
    "os_encrypt_key_id": UUID,
    "os_encrypt_key_deletion_policy": "do_not_delete",
    "hw_ephemeral_encryption_secret_uuid": UUID,
    "block_device_mapping": '[{"device_name": "/dev/vda"}]',
    "bdm_v2": "True",
}

#: The number of tags, and of properties, that Glance allows by default.
QUOTA = 128


class TestMetadata(base.CloudTestCase):
    def _copy(
        self, image: dict[str, Any], **overrides: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Copy an image; return the job, and the copy as its owner sees it."""
        self.start_worker(**overrides)
        job = self.wait_for(
            self.ask_for_copy(image["id"]), "replicated", "error"
        )
        self.assertEqual("replicated", job["status"])
        copies = self.cloud.images("ot2", "alice", "destination")
        return job, copies.get(job["destination_image_id"])

    def _ask(self, image_id: str) -> requests.Response:
        return self.request(
            "POST",
            "/jobs",
            json={
                "image_id": image_id,
                "tenant_id_dst": self.cloud.project_id("destination"),
            },
        )

    def test_properties_that_are_copied_or_dropped(self) -> None:
        properties = {**TRAVELLING, **DROPPED}
        directory = self.useFixture(fixtures.TempDir()).path
        disk = pathlib.Path(directory, "disk.qcow2")
        qcow2.write(disk, 1)
        image = self.cloud.images("ot1").create(
            disk.read_bytes(), visibility="shared", **properties
        )
        # Users cannot set this property.
        self.stamp(image["id"], {"os_glance_failed_import": "elsewhere"})
        source = self.cloud.images("ot1").get(image["id"])
        self.assertEqual("elsewhere", source["os_glance_failed_import"])
        job, copy = self._copy(image)
        for name, value in properties.items():
            if name in DROPPED:
                self.assertNotIn(name, copy)
            elif name == "tags":
                self.assertEqual(sorted(value), sorted(copy[name]))
            else:
                self.assertEqual(value, copy[name], name)
        self.assertNotIn("os_glance_failed_import", copy)
        self.assertEqual(self.cloud.project_id("destination"), copy["owner"])
        self.assertEqual("private", copy["visibility"])
        self.assertNotEqual(image["id"], copy["id"])
        self.assertIs(False, copy["protected"])
        self.assertEqual("active", copy["status"])
        for name in (
            "size",
            "virtual_size",
            "checksum",
            "os_hash_algo",
            "os_hash_value",
        ):
            self.assertEqual(source[name], copy[name], name)
        unaccounted = set(copy) - set(source)
        self.assertEqual(set(), unaccounted)
        self.assertEqual(TRAVELLING["name"], job["source_image_name"])

    def test_an_image_may_use_all_of_its_quotas(self) -> None:
        """The mark of an unfinished copy takes no tag and no property."""
        tags = [f"tag {number}" for number in range(QUOTA)]
        properties: dict[str, Any] = {
            f"key_{number}": "v" for number in range(QUOTA)
        }
        image = self.cloud.images("ot1").create(tags=tags, **properties)
        _job, copy = self._copy(image)
        self.assertEqual(sorted(tags), sorted(copy["tags"]))
        self.assertEqual(
            properties,
            {
                name: value
                for name, value in copy.items()
                if name.startswith("key_")
            },
        )

    def test_empty_references_are_not_copied(self) -> None:
        for value in ("", "None", "NULL", "null", "[]", "{}"):
            properties: dict[str, Any] = dict.fromkeys(REFUSED, value)
            image = self.cloud.images("ot1").create(**properties)
            _job, copy = self._copy(image)
            self.assertEqual(set(), set(REFUSED) & set(copy), repr(value))

    def test_an_empty_image_is_copied(self) -> None:
        image = self.cloud.images("ot1").create(b"", block_device_mapping="[]")
        _job, copy = self._copy(image)
        self.assertEqual((0, "active"), (copy["size"], copy["status"]))

    def test_a_volume_snapshot_is_refused(self) -> None:
        """Nova's snapshot of a server on a volume has no data in Glance."""
        mapping = json.dumps(
            [{"source_type": "snapshot", "snapshot_id": UUID, "boot_index": 0}]
        )
        image = self.cloud.images("ot1").create(
            b"", block_device_mapping=mapping, bdm_v2="True"
        )
        reply = self._ask(image["id"])
        self.assertEqual(409, reply.status_code)
        self.assertIn("volume snapshot", reply.json()["error"]["message"])

    def test_the_visibility_does_not_travel(self) -> None:
        """This includes public images, which other tenants may copy."""
        images = self.cloud.images("ot1", "admin", "admin")
        for visibility in ("public", "community"):
            image = images.create(visibility=visibility)
            _job, copy = self._copy(image)
            self.assertEqual("private", copy["visibility"])
            self.assertEqual(
                self.cloud.project_id("destination"), copy["owner"]
            )

    def test_a_protected_image_has_a_protected_copy(self) -> None:
        image = self.cloud.images("ot1").create(protected=True)
        _job, copy = self._copy(image)
        self.assertIs(True, copy["protected"])

    def test_the_operator_adds_to_what_is_left_behind(self) -> None:
        image = self.cloud.images("ot1").create(
            cost_center="4711", billing_a="1", billing_b="2", kept="yes"
        )
        _job, copy = self._copy(
            image,
            transfer={"dropped_properties": ["cost_center", "billing_*"]},
        )
        self.assertEqual("yes", copy["kept"])
        self.assertEqual(
            set(), {"cost_center", "billing_a", "billing_b"} & set(copy)
        )

    def _assert_refused_by_worker(self, job_id: str, name: str) -> None:
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("error", job["status"])
        self.assertIsNone(job["destination_image_id"])
        row = self.job_row(job_id)
        self.assertEqual("metadata_refused", row.error_code)
        self.assertIn(name, row.error_message)

    def test_the_api_refuses_what_names_a_thing_of_one_region(self) -> None:
        for name, value in REFUSED.items():
            image = self.cloud.images("ot1").create(**{name: value})
            reply = self._ask(image["id"])
            self.assertEqual(409, reply.status_code, name)
            self.assertIn(name, reply.json()["error"]["message"])

    def test_the_worker_refuses_what_was_added_later(self) -> None:
        before = set(self.images_in("ot2"))
        images = self.cloud.images("ot1")
        job_ids = {}
        for name, value in REFUSED.items():
            image = images.create()
            job_ids[name] = self.ask_for_copy(image["id"])
            images.update(image["id"], **{name: value})
        self.start_worker()
        for name, job_id in job_ids.items():
            self._assert_refused_by_worker(job_id, name)
        self.assertEqual(before, set(self.images_in("ot2")))
