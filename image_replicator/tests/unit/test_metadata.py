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

"""The properties that are copied, by name."""

import json
from typing import Any

import testtools
from oslo_config import cfg

from image_replicator import conf
from image_replicator import exception
from image_replicator import metadata

NEVER_SENT = (
    "id self file schema direct_url locations stores status checksum size "
    "virtual_size os_hash_algo os_hash_value created_at updated_at owner "
    "visibility os_glance_importing_to_stores os_glance_stage_host"
).split()

DROPPED = (
    "instance_uuid base_image_ref user_id image_location image_state "
    "image_type owner_id owner_project_name owner_user_name boot_roles "
    "bittorrent cache_in_nova"
).split()

REFUSED = (
    "kernel_id ramdisk_id cinder_encryption_key_id "
    "cinder_encryption_key_deletion_policy os_encrypt_key_id "
    "os_encrypt_key_deletion_policy hw_ephemeral_encryption_secret_uuid "
    "block_device_mapping bdm_v2"
).split()

SIGNATURE = (
    "img_signature img_signature_hash_method img_signature_key_type "
    "img_signature_certificate_uuid"
).split()

TRAVELLING: dict[str, Any] = {
    "name": "Übung ☃",
    "tags": ["a", "b"],
    "disk_format": "qcow2",
    "container_format": "bare",
    "min_disk": 0,
    "min_ram": 512,
    "os_hidden": True,
    "trait:CUSTOM_GOLD": "required",
    "hw_disk_bus": "virtio",
    "os_hash": "not Glance's",
    "os_glanced": "not Glance's",
    "size_hint": "big",
    "Owner_id": "another name",
    "owner_specified.openstack.md5": "still true of a copy",
    "kernel_id_old": "another name",
    "my_img_signature": "another name",
    "größe": "schön",
    "empty": "",
}


class TestTravelling(testtools.TestCase):
    def _travelling(self, *names: str, **rules: Any) -> dict[str, Any]:
        image = dict.fromkeys(names, "value")
        return metadata.travelling(image, metadata.Rules(**rules))

    def test_other_properties_are_copied_unchanged(self) -> None:
        self.assertEqual(
            TRAVELLING, metadata.travelling(TRAVELLING, metadata.Rules())
        )

    def test_properties_that_glance_sets_are_never_sent(self) -> None:
        for name in NEVER_SENT:
            self.assertEqual({}, self._travelling(name), name)

    def test_properties_of_the_source_alone_are_dropped(self) -> None:
        for name in DROPPED:
            self.assertEqual({}, self._travelling(name), name)

    def test_protected_is_not_set_at_first(self) -> None:
        self.assertEqual({}, self._travelling("protected"))

    def test_marks_of_unfinished_copies_do_not_travel(self) -> None:
        tags = ["a", metadata.mark("ot1"), "b", metadata.mark("x" * 300)]
        self.assertEqual(
            {"tags": ["a", "b"]},
            metadata.travelling({"tags": tags}, metadata.Rules()),
        )

    def test_references_within_one_region_are_refused(self) -> None:
        for name in REFUSED:
            error = self.assertRaises(
                exception.MetadataRefused, self._travelling, "name", name
            )
            self.assertIn(name, error.message)

    def test_a_base_property_that_is_not_set_is_no_reason(self) -> None:
        image = dict.fromkeys(["kernel_id", "ramdisk_id", "name"])
        self.assertEqual({}, metadata.travelling(image, metadata.Rules()))

    def test_a_value_that_names_nothing_is_no_reason(self) -> None:
        texts = ("", "None", "NULL", "null", "[]", " [] ", "{}")
        values: list[Any] = [*texts, [], {}]
        for value in values:
            image = {name: value for name in REFUSED}
            for size in (0, 1):
                self.assertEqual(
                    {"empty": ""},
                    metadata.travelling(
                        {**image, "size": size, "empty": ""}, metadata.Rules()
                    ),
                    repr(value),
                )

    def test_a_value_that_looks_like_nothing_is_a_reason(self) -> None:
        for value in ("nil", "0", "False", "[null]", [None]):
            self.assertRaises(
                exception.MetadataRefused,
                metadata.travelling,
                {"kernel_id": value},
                metadata.Rules(),
            )

    def test_the_operator_cannot_drop_what_is_refused(self) -> None:
        for name in REFUSED:
            self.assertRaises(
                exception.MetadataRefused,
                self._travelling,
                name,
                dropped=(name,),
            )

    def test_the_operator_drops_names_and_patterns(self) -> None:
        carried = self._travelling(
            "cost", "cost_a", "bill_a", "bill_b", dropped=("cost", "bill_*")
        )
        self.assertEqual({"cost_a": "value"}, carried)

    def test_signatures_are_kept_unless_told_otherwise(self) -> None:
        self.assertEqual(set(SIGNATURE), set(self._travelling(*SIGNATURE)))

    def test_signatures_are_dropped_when_the_operator_wants(self) -> None:
        carried = self._travelling(*SIGNATURE, signature="drop")
        self.assertEqual({}, carried)

    def test_signatures_are_refused_when_the_operator_wants(self) -> None:
        for name in SIGNATURE:
            error = self.assertRaises(
                exception.MetadataRefused,
                self._travelling,
                name,
                signature="refuse",
            )
            self.assertIn(name, error.message)

    def test_a_volume_snapshot_is_refused_with_that_reason(self) -> None:
        mapping = [{"device_name": "/dev/vda", "snapshot_id": "5a7c"}]
        for name, value in (
            ("block_device_mapping", json.dumps(mapping)),
            ("block_device_mapping", mapping),
            ("block_device_mapping", "not JSON"),
            ("bdm_v2", "True"),
            ("mappings", json.dumps({"source_type": "snapshot"})),
            ("mappings", [{"no": "volume"}, {"volume_id": "5a7c"}]),
        ):
            error = self.assertRaises(
                exception.MetadataRefused,
                metadata.travelling,
                {"size": 0, name: value},
                metadata.Rules(),
            )
            self.assertIn(f"{name} says that a volume snapshot", error.message)

    def test_an_empty_image_travels(self) -> None:
        properties = {
            "text": "[ no JSON",
            "nested": "[" * 60000,
            "list": '["volume_id", null]',
            "object": '{"snapshot_id": null}',
            "number": 1,
        }
        self.assertEqual(
            properties,
            metadata.travelling({"size": 0, **properties}, metadata.Rules()),
        )

    def test_a_mapping_of_an_image_with_data_travels(self) -> None:
        image = {"size": 1, "note": '[{"volume_id": "5a7c"}]'}
        self.assertEqual(
            {"note": image["note"]},
            metadata.travelling(image, metadata.Rules()),
        )

    def test_the_image_is_left_as_it_is(self) -> None:
        image = {"id": "1", "user_id": "2", "name": "3"}
        metadata.travelling(image, metadata.Rules())
        self.assertEqual({"id": "1", "user_id": "2", "name": "3"}, image)


class TestMark(testtools.TestCase):
    def test_it_names_the_source_s_region(self) -> None:
        self.assertEqual("image_replicator:ot1", metadata.mark("ot1"))

    def test_it_is_no_longer_than_a_tag_may_be(self) -> None:
        self.assertEqual(255, len(metadata.mark("x" * 255)))

    def test_it_takes_the_place_of_a_tag(self) -> None:
        mark = metadata.mark("ot1")
        self.assertEqual([mark], metadata.marked([], "ot1"))
        self.assertEqual([mark], metadata.marked(["a"], "ot1"))
        self.assertEqual(["a", mark], metadata.marked(["a", "b"], "ot1"))


class TestRules(testtools.TestCase):
    def test_they_are_read_from_the_configuration(self) -> None:
        options = cfg.ConfigOpts()
        conf.register_opts(options)
        options([], default_config_files=[])
        self.assertEqual(metadata.Rules(), metadata.rules_from(options))
        for name, value in (
            ("dropped_properties", ["a", "b_*"]),
            ("signature_properties", "drop"),
        ):
            options.set_override(name, value, "transfer")
        self.assertEqual(
            metadata.Rules(("a", "b_*"), "drop"), metadata.rules_from(options)
        )
