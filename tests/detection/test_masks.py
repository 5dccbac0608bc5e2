"""Cropping and pasting of masks against plain loops and against torch's grid_sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torchvision.models.detection.roi_heads import paste_masks_in_image

from repro.detection import masks as m
from repro.detection.mask_targets import crop
from repro.experiments.conventions import CONTINUOUS, DETECTRON2, MMDETECTION_1, MMDETECTION_2, TORCHVISION

pytestmark = pytest.mark.rounding


def paste_by_loops(mask: np.ndarray, box: tuple[float, ...], height: int, width: int) -> np.ndarray:
    """Bilinear interpolation between the centres of the cells, the outermost ones reaching to the edge of the box."""
    x1, y1, x2, y2 = box
    cells = len(mask)
    pasted = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            row = (y + 0.5 - y1) / (y2 - y1) * cells - 0.5
            column = (x + 0.5 - x1) / (x2 - x1) * cells - 0.5
            if not (-0.5 <= row <= cells - 0.5 and -0.5 <= column <= cells - 0.5):
                continue
            top, left = int(np.floor(row)), int(np.floor(column))
            for i, weight_i in ((top, 1 - (row - top)), (top + 1, row - top)):
                for j, weight_j in ((left, 1 - (column - left)), (left + 1, column - left)):
                    nearest = mask[min(max(i, 0), cells - 1), min(max(j, 0), cells - 1)]
                    pasted[y, x] += weight_i * weight_j * nearest
    return pasted


BOXES = torch.tensor([[2.0, 3.0, 17.0, 11.0], [0.0, 0.0, 24.0, 16.0], [5.3, 4.7, 5.9, 12.2], [20.5, 0.0, 24.0, 3.1]])


def test_paste_by_loops():
    masks = torch.rand(len(BOXES), 7, 7, generator=torch.Generator().manual_seed(0))
    pasted = m.paste(masks, BOXES, (16, 24)).mT
    for mask, box, ours in zip(masks, BOXES, pasted, strict=True):
        np.testing.assert_allclose(ours, paste_by_loops(mask.numpy(), tuple(box.tolist()), 16, 24), atol=1e-5)


def sampled(masks: torch.Tensor, padding_mode: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What Detectron2 and mmdetection 2 call, and where it is: coordinates of the box, from -1 to 1."""
    x1, y1, x2, y2 = BOXES.T[..., None]
    columns = (torch.arange(24) + 0.5 - x1) / (x2 - x1) * 2 - 1
    rows = (torch.arange(16) + 0.5 - y1) / (y2 - y1) * 2 - 1
    grid = torch.stack([columns[:, None, :].expand(-1, 16, -1), rows[:, :, None].expand(-1, -1, 24)], dim=-1)
    return F.grid_sample(masks[:, None], grid, padding_mode=padding_mode, align_corners=False)[:, 0], grid


def test_paste_equals_grid_sample():
    masks = torch.rand(len(BOXES), 28, 28, generator=torch.Generator().manual_seed(1))
    expected, grid = sampled(masks, "border")
    expected *= (grid.abs() <= 1).all(dim=-1)
    torch.testing.assert_close(m.paste(masks, BOXES, (16, 24)).mT, expected, atol=1e-5, rtol=0)


def pasted_by(conventions, masks: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    return m.paste(*m.prepare(masks, boxes, conventions), (16, 24)).mT


@pytest.mark.parametrize("conventions", [DETECTRON2, MMDETECTION_2])
def test_soft_border_equals_grid_sample_with_zeros(conventions):
    masks = torch.rand(len(BOXES), 28, 28, generator=torch.Generator().manual_seed(4))
    expected, _ = sampled(masks, "zeros")
    # Within 1.3e-5 over 3 seeds x 3 instruction sets.
    torch.testing.assert_close(pasted_by(conventions, masks, BOXES), expected, atol=1e-4, rtol=0)


def test_torchvision_pastes_into_whole_pixels():
    masks = torch.rand(len(BOXES), 28, 28, generator=torch.Generator().manual_seed(5))
    boxes = BOXES + torch.tensor([0.3, 0.2, -0.4, -0.1])  # away from where rounding decides on the pixel
    expected = paste_masks_in_image(masks[:, None], boxes, (16, 24))[:, 0]
    torch.testing.assert_close(pasted_by(TORCHVISION, masks, boxes), expected, atol=1e-5, rtol=0)


def test_mmdetection_1_pastes_from_first_to_last_pixel():
    masks = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(6))
    box = torch.tensor([[2.7, 3.2, 17.9, 11.1]])  # the last pixels begin at 16.9 and 10.1
    expected = torch.zeros(1, 16, 24)
    expected[:, 3:11, 2:17] = F.interpolate(masks[None], size=(8, 15), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(pasted_by(MMDETECTION_1, masks, box), expected, atol=1e-5, rtol=0)
    thin = torch.tensor([[5.2, 3.2, 5.9, 3.9]])  # its last pixel begins before its first: one, all the same
    assert pasted_by(MMDETECTION_1, torch.ones(1, 28, 28), thin)[0].nonzero().tolist() == [[3, 5]]


def test_masks_of_continuous_boxes_are_pasted_as_they_are():
    masks = torch.rand(len(BOXES), 28, 28)
    assert m.prepare(masks, BOXES, CONTINUOUS) == (masks, BOXES)


def test_full_mask_fills_its_box_to_the_pixel():
    encoded = m.encode(torch.ones(1, 28, 28), torch.tensor([[3.0, 5.0, 17.0, 9.0]]), (12, 20))
    expected = np.zeros((12, 20), np.uint8)
    expected[5:9, 3:17] = 1
    np.testing.assert_array_equal(coco_mask.decode(encoded[0]), expected)


@pytest.mark.parametrize("chunk", [1, 2**24])
def test_encoding_in_chunks(monkeypatch, chunk):
    monkeypatch.setattr(m, "_CHUNK", chunk)
    masks = torch.rand(len(BOXES), 7, 7, generator=torch.Generator().manual_seed(2))
    encoded = m.encode(masks, BOXES, (16, 24))
    assert [code["size"] for code in encoded] == [[16, 24]] * len(BOXES)
    for mask, box, code in zip(masks, BOXES, encoded, strict=True):
        expected = paste_by_loops(mask.numpy(), tuple(box.tolist()), 16, 24) >= 0.5
        np.testing.assert_array_equal(coco_mask.decode(code), expected)


def test_no_masks_encode_to_nothing():
    assert m.encode(torch.zeros(0, 28, 28), torch.zeros(0, 4), (16, 24)) == []


def test_crop_is_the_majority_of_each_cell():
    masks = (torch.rand(2, 60, 70, generator=torch.Generator().manual_seed(3)) > 0.5).to(torch.uint8)
    objects, boxes = torch.tensor([1, 0]), torch.tensor([[3.0, 2.0, 59.0, 58.0], [10.0, 4.0, 66.0, 32.0]])
    first, second = crop([masks], [objects], [boxes], 28, inclusive=False)
    expected = masks[1, 2:58, 3:59].float().view(28, 2, 28, 2).mean(dim=(1, 3)) >= 0.5
    torch.testing.assert_close(first, expected.float())
    expected = masks[0, 4:32, 10:66].float().view(28, 1, 28, 2).mean(dim=(1, 3)) >= 0.5
    torch.testing.assert_close(second, expected.float())


def test_paste_undoes_crop():
    mask = torch.zeros(1, 40, 50, dtype=torch.uint8)
    mask[0, 10:34, 8:36] = 1
    mask[0, 10:20, 8:20] = 0
    box = torch.tensor([[8.0, 10.0, 36.0, 34.0]])
    grid = crop([mask], [torch.tensor([0])], [box], 28, inclusive=False)
    decoded = coco_mask.decode(m.encode(grid, box, (40, 50)))[..., 0]
    np.testing.assert_array_equal(decoded, mask[0].numpy())


@pytest.mark.parametrize("inclusive", [False, True])
def test_masks_of_several_images_are_cropped_as_those_of_each(inclusive):
    """Images of other sizes and numbers of objects, one of them without a box."""
    generator = torch.Generator().manual_seed(0)
    shapes, boxes = [(2, 60, 80), (3, 90, 50), (0, 40, 40), (1, 70, 70)], [4, 0, 0, 3]
    masks = [(torch.rand(shape, generator=generator) > 0.5).byte() for shape in shapes]
    objects = [torch.arange(count) % max(shape[0], 1) for count, shape in zip(boxes, shapes, strict=True)]
    corners = [torch.randint(0, 25, (count, 2), generator=generator).float() for count in boxes]
    rois = [torch.cat([one, one + torch.tensor([20.5, 17.25])], dim=1) for one in corners]
    together = crop(masks, objects, rois, 28, inclusive=inclusive)
    apart = [crop([m], [o], [r], 28, inclusive=inclusive) for m, o, r in zip(masks, objects, rois, strict=True)]
    assert torch.equal(together, torch.cat(apart))
    assert 0.3 < together.mean() < 0.7
