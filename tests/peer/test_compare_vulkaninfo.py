#!/usr/bin/env python3
"""compare_vulkaninfo.py finds what is missing, and nothing else."""

import contextlib
import copy
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

import compare_vulkaninfo as compare

REGISTRY = """<registry><types>
<type category="struct" name="VkPhysicalDeviceLimits">
  <member limittype="max"><type>uint32_t</type> <name>maxViewports</name></member>
  <member limittype="min,pot"><type>VkDeviceSize</type> <name>minAlignment</name></member>
  <member limittype="range"><type>float</type> <name>viewportBoundsRange</name></member>
  <member limittype="bitmask"><type>VkSampleCountFlags</type> <name>samples</name></member>
</type>
<type category="struct" name="VkPhysicalDeviceProperties">
  <member limittype="noauto"><type>uint32_t</type> <name>apiVersion</name></member>
  <member limittype="noauto"><type>char</type> <name>deviceName</name></member>
  <member limittype="struct"><type>VkPhysicalDeviceLimits</type> <name>limits</name></member>
</type>
<type category="struct" name="VkPhysicalDevicePointClippingProperties">
  <member limittype="exact"><type>VkPointClippingBehavior</type> <name>behavior</name></member>
</type>
<type category="struct" name="VkQueueFamilyProperties">
  <member limittype="bitmask"><type>VkQueueFlags</type> <name>queueFlags</name></member>
  <member limittype="max"><type>uint32_t</type> <name>queueCount</name></member>
  <member limittype="min,mul"><type>VkExtent3D</type> <name>granularity</name></member>
</type>
<type category="struct" name="VkPhysicalDeviceMaintenance4FeaturesKHR"
      alias="VkPhysicalDeviceMaintenance4Features"/>
</types></registry>
"""

CAPTURED = {"capabilities": {"device": {
    "extensions": {"VK_KHR_swapchain": 70, "VK_KHR_maintenance4": 2},
    "features": {
        "VkPhysicalDeviceFeatures": {"geometryShader": True, "depthBounds": False},
        "VkPhysicalDeviceMaintenance4FeaturesKHR": {"maintenance4": True},
    },
    "properties": {
        "VkPhysicalDeviceProperties": {
            "apiVersion": 4202496,
            "deviceName": "one",
            "limits": {"maxViewports": 16, "minAlignment": 64, "viewportBoundsRange": [-8, 8],
                       "samples": ["VK_SAMPLE_COUNT_1_BIT", "VK_SAMPLE_COUNT_4_BIT"]},
        },
        "VkPhysicalDevicePointClippingProperties": {"behavior": "ALL_CLIP_PLANES"},
    },
    "formats": {"VK_FORMAT_R8_UNORM": {"VkFormatProperties": {
        "optimalTilingFeatures": ["SAMPLED_IMAGE_BIT", "BLIT_SRC_BIT"]}}},
    "queueFamiliesProperties": [{"VkQueueFamilyProperties": {
        "queueFlags": ["GRAPHICS", "COMPUTE"], "queueCount": 1,
        "granularity": {"width": 4, "height": 4, "depth": 1}}}],
}}}

TEXT = """
VkPhysicalDeviceMemoryProperties:
=================================
memoryHeaps: count = 1
\tmemoryHeaps[0]:
\t\tsize   = 4096 (0x1000) (4.00 KiB)
\t\tbudget = 17 (0x11)
\t\tflags: count = 1
\t\t\tMEMORY_HEAP_DEVICE_LOCAL_BIT
memoryTypes: count = 2
\tmemoryTypes[0]:
\t\theapIndex     = 0
\t\tpropertyFlags = 0x0003: count = 2
\t\t\tMEMORY_PROPERTY_DEVICE_LOCAL_BIT
\t\t\tMEMORY_PROPERTY_HOST_VISIBLE_BIT
\t\tusable for:
\t\t\tIMAGE_TILING_OPTIMAL:
\t\t\t\tcolor images
\t\t\t\tFORMAT_D16_UNORM
\t\t\t\t(non-sparse)
\t\t\tIMAGE_TILING_LINEAR:
\t\t\t\tNone
\tmemoryTypes[1]:
\t\theapIndex     = 0
\t\tpropertyFlags = 0x0001: count = 1
\t\t\tMEMORY_PROPERTY_DEVICE_LOCAL_BIT
\t\tusable for:
\t\t\tIMAGE_TILING_OPTIMAL:
\t\t\t\tcolor images

VkPhysicalDeviceFeatures:
=========================
\trobustBufferAccess = true
"""


class CompareTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        (self.folder / "vk.xml").write_text(REGISTRY, encoding="utf-8")
        (self.folder / "exceptions.tsv").write_text("# none\n", encoding="utf-8")
        self.captured = copy.deepcopy(CAPTURED)
        self.device = self.captured["capabilities"]["device"]
        self.limits = self.device["properties"]["VkPhysicalDeviceProperties"]["limits"]
        self.text = TEXT

    def write(self, name, captured, text):
        folder = self.folder / name
        folder.mkdir()
        (folder / compare.JSON_NAME).write_text(json.dumps(captured), encoding="utf-8")
        (folder / compare.TEXT_NAME).write_text(text, encoding="utf-8")
        return str(folder)

    def run_compare(self, exceptions=None):
        """Returns (status, output) for CAPTURED as the peer and self.captured as ours."""
        if exceptions is not None:
            (self.folder / "exceptions.tsv").write_text(exceptions, encoding="utf-8")
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = compare.main(["--registry", str(self.folder / "vk.xml"),
                                   "--exceptions", str(self.folder / "exceptions.tsv"),
                                   self.write("peer", CAPTURED, TEXT),
                                   self.write("ours", self.captured, self.text)])
        return status, output.getvalue()

    def assert_less(self, name):
        status, output = self.run_compare()
        self.assertEqual(status, 1, output)
        self.assertIn(f"  {name}:", output)
        self.assertIn(" 1 less than the peer's", output)

    def assert_good(self):
        status, output = self.run_compare()
        self.assertEqual(status, 0, output)

    def test_the_peer_equals_itself(self):
        self.assert_good()

    def test_a_missing_extension_is_found(self):
        del self.device["extensions"]["VK_KHR_swapchain"]
        self.assert_less("extension VK_KHR_swapchain")

    def test_an_older_extension_is_found(self):
        self.device["extensions"]["VK_KHR_swapchain"] = 69
        self.assert_less("extension VK_KHR_swapchain")

    def test_a_missing_feature_is_found(self):
        self.device["features"]["VkPhysicalDeviceFeatures"]["geometryShader"] = False
        self.assert_less("feature VkPhysicalDeviceFeatures.geometryShader")

    def test_a_feature_more_is_fine(self):
        self.device["features"]["VkPhysicalDeviceFeatures"]["depthBounds"] = True
        self.assert_good()

    def test_a_feature_that_became_core_is_seen(self):
        del self.device["features"]["VkPhysicalDeviceMaintenance4FeaturesKHR"]
        self.device["features"]["VkPhysicalDeviceVulkan13Features"] = {"maintenance4": True}
        self.assert_good()

    def test_a_feature_that_became_core_and_is_off_is_found(self):
        del self.device["features"]["VkPhysicalDeviceMaintenance4FeaturesKHR"]
        self.device["features"]["VkPhysicalDeviceVulkan13Features"] = {"maintenance4": False}
        self.assert_less("feature VkPhysicalDeviceMaintenance4Features.maintenance4")

    def test_a_lower_maximum_is_found(self):
        self.limits["maxViewports"] = 15
        self.assert_less("property VkPhysicalDeviceProperties.limits.maxViewports")

    def test_a_higher_maximum_is_fine(self):
        self.limits["maxViewports"] = 17
        self.assert_good()

    def test_a_higher_minimum_is_found(self):
        self.limits["minAlignment"] = 128
        self.assert_less("property VkPhysicalDeviceProperties.limits.minAlignment")

    def test_a_narrower_range_is_found(self):
        self.limits["viewportBoundsRange"] = [-8, 7]
        self.assert_less("property VkPhysicalDeviceProperties.limits.viewportBoundsRange")

    def test_a_missing_bit_is_found(self):
        self.limits["samples"] = ["VK_SAMPLE_COUNT_1_BIT", "VK_SAMPLE_COUNT_8_BIT"]
        self.assert_less("property VkPhysicalDeviceProperties.limits.samples")

    def test_another_behaviour_is_found(self):
        self.device["properties"]["VkPhysicalDevicePointClippingProperties"]["behavior"] = "USER"
        self.assert_less("property VkPhysicalDevicePointClippingProperties.behavior")

    def test_an_older_api_is_found(self):
        self.device["properties"]["VkPhysicalDeviceProperties"]["apiVersion"] = 4198400
        self.assert_less("property VkPhysicalDeviceProperties.apiVersion")

    def test_another_name_is_fine(self):
        self.device["properties"]["VkPhysicalDeviceProperties"]["deviceName"] = "two"
        self.assert_good()

    def test_a_format_that_does_less_is_found(self):
        self.device["formats"]["VK_FORMAT_R8_UNORM"]["VkFormatProperties"][
            "optimalTilingFeatures"] = ["SAMPLED_IMAGE_BIT"]
        self.assert_less("format VK_FORMAT_R8_UNORM.VkFormatProperties.optimalTilingFeatures")

    def test_a_missing_format_is_found(self):
        self.device["formats"] = {}
        self.assert_less("format VK_FORMAT_R8_UNORM.VkFormatProperties.optimalTilingFeatures")

    def test_a_queue_that_does_less_is_found(self):
        queue = self.device["queueFamiliesProperties"][0]["VkQueueFamilyProperties"]
        queue["queueFlags"] = ["COMPUTE"]
        self.assert_less("queue 0.VkQueueFamilyProperties.queueFlags")

    def test_a_coarser_granularity_is_found(self):
        queue = self.device["queueFamiliesProperties"][0]["VkQueueFamilyProperties"]
        queue["granularity"]["width"] = 8
        self.assert_less("queue 0.VkQueueFamilyProperties.granularity.width")

    def test_a_missing_memory_flag_is_found(self):
        self.text = TEXT.replace("\t\t\tMEMORY_PROPERTY_HOST_VISIBLE_BIT\n", "")
        self.assert_less("memory type 0")

    def test_memory_that_takes_fewer_images_is_found(self):
        self.text = TEXT.replace("\t\t\t\tFORMAT_D16_UNORM\n", "")
        self.assert_less("memory type 0")

    def test_a_smaller_heap_is_found(self):
        self.text = TEXT.replace("4096", "4095")
        status, output = self.run_compare()
        self.assertEqual(status, 1)
        self.assertIn(" 2 less than the peer's", output)

    def test_a_smaller_budget_is_fine(self):
        self.text = TEXT.replace("budget = 17", "budget = 16")
        self.assert_good()

    def test_a_named_exception_excuses(self):
        del self.device["extensions"]["VK_KHR_swapchain"]
        status, output = self.run_compare("extension VK_KHR_swap*\tnobody swaps here\n")
        self.assertEqual(status, 0, output)
        self.assertIn("extension VK_KHR_swapchain: nobody swaps here", output)

    def test_an_exception_without_reason_is_refused(self):
        status, output = self.run_compare("extension VK_KHR_swapchain\n")
        self.assertEqual(status, 2)
        self.assertIn("exceptions.tsv:1", output)

    def test_a_side_that_is_not_there_is_told(self):
        output = io.StringIO()
        with contextlib.redirect_stderr(output):
            status = compare.main(["--registry", str(self.folder / "vk.xml"),
                                   "/nonexistent.sock", "/nonexistent.sock"])
        self.assertEqual(status, 2)
        self.assertIn("/nonexistent.sock", output.getvalue())


if __name__ == "__main__":
    unittest.main()
