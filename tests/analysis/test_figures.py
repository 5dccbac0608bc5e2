"""What Figures 1 and 2 are drawn from, and that the same data give the same files."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image as pillow
from scipy.spatial.distance import cosine, jensenshannon
from torch import nn

from repro.analysis.attention import Observation, observe
from repro.analysis.figures import QUERIES, build_panel, draw_figure1, draw_figure2, save
from repro.errors import ReproError
from repro.experiments import NonLocal
from repro.models.context import build

pytestmark = pytest.mark.rounding


def observed(image, spec=NonLocal(), width=6):  # noqa: B008
    """What a block at stride 16 does with an image."""
    torch.manual_seed(0)
    block = build(spec, width)
    nn.init.normal_(block.conv_out.weight)
    network = nn.Sequential(nn.AvgPool2d(16), nn.Conv2d(3, width, 1), block).eval()
    height, width = (-(-side // 32) * 32 for side in image.shape[1:])
    padded = torch.zeros(1, 3, height, width)
    padded[0, :, : image.shape[1], : image.shape[2]] = image / 64
    return observe(network, padded)[0]


@pytest.fixture
def image():
    return torch.randint(0, 256, (3, 150, 250), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def test_maps_are_the_rows_of_the_query_positions(image):
    observation = observed(image)
    made = build_panel(image, observation)
    whole = torch.cat(list(observation.rows))
    assert made.maps.shape == (3, 5, 8)  # keys of a padded image of 160 x 256, every 32 pixels
    assert made.extent == (0, 256, 160, 0)
    for (x, y), shown, (down, right) in zip(made.points, made.maps, QUERIES, strict=True):
        assert abs(y - 150 * down) <= 16
        assert abs(x - 250 * right) <= 16
        position = int(y // 16) * 16 + int(x // 16)
        np.testing.assert_allclose(shown.flatten(), whole[position].numpy(), rtol=1e-6)


def test_distances_are_those_of_the_pairs(image):
    observation = observed(image)
    made = build_panel(image, observation)
    rows, columns = made.grid
    assert made.measure == "JSD"
    assert rows * columns == 160 == len(made.matrix)  # 10 x 16 positions, each of them
    whole = torch.cat(list(observation.rows)).double().numpy()
    outputs = observation.output.flatten(1).T.double().numpy()
    for i, j in ((0, 1), (3, 100), (159, 40)):
        assert made.matrix[i, j] == pytest.approx(jensenshannon(whole[i], whole[j]) ** 2, rel=1e-5)
    upper = np.triu_indices(160, 1)
    at = next(k for k, pair in enumerate(zip(*upper, strict=True)) if pair == (3, 100))
    assert made.distances["output"][at] == pytest.approx(cosine(outputs[3], outputs[100]) / 2, rel=1e-9)
    assert made.distances["att"][at] == pytest.approx(cosine(whole[3], whole[100]) / 2, rel=1e-5)


def test_a_large_image_has_a_grid_of_positions():
    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    image[0, :, ::2] = 200
    made = build_panel(image, observed(image))
    assert made.grid == (10, 14)
    assert len(made.matrix) == 140


def test_padding_is_no_query_position():
    image = torch.full((3, 33, 40), 90, dtype=torch.uint8)  # padded to 64 x 64: a grid of 4 x 4
    made = build_panel(image, observed(image))
    assert made.grid == (3, 3)
    assert (made.points < (48, 48)).all()


def test_query_independent_attention_looks_alike(image):
    observation = observed(image)
    same = torch.cat(list(observation.rows))[:1].expand(160, -1)
    made = build_panel(image, Observation("b", observation.input, observation.output, [same], True))
    assert (made.maps == made.maps[0]).all()
    assert made.matrix.max() < 1e-12
    assert made.distances["att"].max() < 1e-12
    assert made.distances["input"].mean() > 1e-3


def test_rows_that_are_no_distributions_have_cosine_distances(image):
    made = build_panel(image, observed(image, NonLocal("dot_product", subsample=False)))
    assert made.measure == "cosine distance"
    assert made.maps.shape == (3, 10, 16)
    assert np.allclose(made.matrix[np.triu_indices(160, 1)], made.distances["att"])


def test_a_zero_vector_is_at_right_angles_to_all(image):
    observation = observed(image)
    made = build_panel(image, Observation("b", observation.input, 0 * observation.output, list(observation.rows), True))
    assert (made.distances["output"] == 0.5).all()


def test_files_are_the_same_every_time(image):
    made = build_panel(image, observed(image))
    for figure in (lambda: draw_figure1(made), lambda: draw_figure2([made])):
        files, again = save(figure()), save(figure())
        assert files == again
        assert files["pdf"].startswith(b"%PDF")
        picture = np.asarray(pillow.open(io.BytesIO(files["png"])).convert("RGB"))
        assert picture.shape[1] == 2160
        assert (picture == (0xE2, 0x00, 0x1A)).all(-1).sum() > 3 * 100  # the red points


def test_of_a_clip_the_frame_in_the_middle_is_drawn():
    clip = torch.randint(0, 256, (3, 6, 40, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(6))
    torch.manual_seed(0)
    block = build(NonLocal(), 5, dimensions=3)
    nn.init.normal_(block.conv_out.weight)
    # Half as many frames as the clip, cells of 10 pixels: 3 x 4 x 6 positions, 3 x 2 x 3 keys.
    network = nn.Sequential(nn.AvgPool3d((2, 10, 10)), nn.Conv3d(3, 5, 1), block).eval()
    inputs = (clip[None] / 64).float()
    observation = observe(network, inputs)[0]
    made = build_panel(clip, observation)
    with torch.no_grad():
        attention = block.attention(network[:2](inputs))[0]
    assert attention.shape == (3 * 4 * 6, 3 * 2 * 3)
    # The second of three frames of the features stands for the third and fourth of six.
    assert np.array_equal(made.image, clip[:, 3].permute(1, 2, 0))
    for (y, x), (px, py), drawn in zip(QUERIES, made.points, made.maps, strict=True):
        i, j = int(y * 4), int(x * 6)
        assert (px, py) == ((j + 0.5) * 10, (i + 0.5) * 10)
        np.testing.assert_allclose(drawn, attention[24 + i * 6 + j].view(3, 2, 3)[1], rtol=1e-6)
    assert made.extent == (0, 60, 40, 0)
    assert made.grid == (4, 6)
    # The distances are those of whole maps, over all frames.
    pair = jensenshannon(attention[24].double(), attention[24 + 23].double()) ** 2
    assert made.matrix[0, 23] == pytest.approx(pair, rel=1e-4)
    assert save(draw_figure2([made]))["png"] == save(draw_figure2([build_panel(clip, observation)]))["png"]


def test_what_cannot_be_drawn(image):
    clip = Observation("b", torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), [torch.eye(48)], True)
    with pytest.raises(ReproError, match="a map of a clip, and an image is to be drawn"):
        build_panel(image, clip)
    with pytest.raises(ReproError, match="a map of an image, and a clip is to be drawn"):
        build_panel(image[:, None], observed(image))
    observation = observed(image)
    odd = Observation("b", observation.input, observation.output, [torch.full((160, 7), 1 / 7)], True)
    with pytest.raises(ReproError, match="7 keys lie on no grid"):
        build_panel(image, odd)
    short = Observation("b", observation.input, observation.output, [torch.full((90, 40), 1 / 40)], True)
    with pytest.raises(ReproError, match="no attention map for position"):
        build_panel(image, short)
