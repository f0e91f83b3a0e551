import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convscope.display import DisplayScale, display_scale, to_display
from convscope.errors import ImageError
from convscope.images import Preprocess
from convscope.reading import PictureWarning, read_image

IMAGENET = Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (224, 224), resize=256)


def saved(folder: Path, picture: Image.Image, name: str, **options: object) -> Path:
    picture.save(folder / name, **options)
    return folder / name


def pixels(path: Path) -> list[list[tuple[int, ...]]]:
    picture = read_image(path)
    assert picture.mode == "RGB"
    return [[tuple(p) for p in row] for row in np.array(picture).tolist()]


def grey(*values: int) -> list[list[tuple[int, ...]]]:
    return [[(v, v, v) for v in values]]


# --- reading ---------------------------------------------------------------------------------


def test_transparency_is_laid_on_white(tmp_path):
    rgba = Image.new("RGBA", (3, 1))
    rgba.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 51)])
    # 51/255 is one fifth black on white: 204.
    expected = [[(255, 0, 0), (255, 255, 255), (204, 204, 204)]]
    assert pixels(saved(tmp_path, rgba, "a.png")) == expected
    assert pixels(saved(tmp_path, rgba, "a.tif")) == expected


def test_grey_with_alpha(tmp_path):
    la = Image.new("LA", (2, 1))
    la.putdata([(10, 255), (10, 0)])
    assert pixels(saved(tmp_path, la, "a.png")) == grey(10, 255)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
def test_palette_with_a_transparent_entry(tmp_path, transparency):
    palette = Image.new("P", (3, 1))
    palette.putpalette([0, 0, 255, 9, 9, 9, 0, 128, 0])
    palette.putdata([0, 1, 2])
    path = saved(tmp_path, palette, "p.png", transparency=transparency)
    assert pixels(path) == [[(0, 0, 255), (255, 255, 255), (0, 128, 0)]]


def test_colour_key_transparency(tmp_path):
    rgb = Image.new("RGB", (2, 1))
    rgb.putdata([(1, 2, 3), (4, 5, 6)])
    path = saved(tmp_path, rgb, "key.png", transparency=(1, 2, 3))
    assert pixels(path) == [[(255, 255, 255), (4, 5, 6)]]


SIXTEEN = np.array([[0, 257, 32896, 65535, 1000]], dtype=np.uint16)
SIXTEEN_AS_8_BIT = grey(0, 1, 128, 255, 4)  # 1000 / 257 = 3.89


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, name):
    assert pixels(saved(tmp_path, Image.fromarray(SIXTEEN), name)) == SIXTEEN_AS_8_BIT


def test_big_endian_16_bit_grey(tmp_path):
    path = saved(tmp_path, Image.fromarray(SIXTEEN.astype(">u2")), "a.tif")
    with Image.open(path) as opened:
        assert opened.mode == "I;16B"
    assert pixels(path) == SIXTEEN_AS_8_BIT


def test_32_bit_integers_are_16_bit_grey(tmp_path):
    path = saved(tmp_path, Image.fromarray(SIXTEEN.astype(np.int32)), "a.tif")
    with Image.open(path) as opened:
        assert opened.mode == "I"
    assert pixels(path) == SIXTEEN_AS_8_BIT


def test_16_bit_colour_png(tmp_path):
    row = b"\0" + struct.pack(">6H", 0, 65535, 32896, 257, 514, 65535)
    path = tmp_path / "deep.png"
    path.write_bytes(png(2, 1, row, depth=16, colour=2))
    assert pixels(path) == [[(0, 255, 128), (1, 2, 255)]]


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 0) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], (0, 128, 255)),
        ([0.0, 7.0, 255.0], (0, 7, 255)),
        ([0.0, 257.0, 65535.0], (0, 1, 255)),
    ],
)
def test_floats_are_scaled_by_the_range_they_use(tmp_path, values, expected):
    picture = Image.fromarray(np.array([values], dtype=np.float32))
    assert pixels(saved(tmp_path, picture, "f.tif")) == grey(*expected)


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.0, 1e6], [0.0, np.nan]])
def test_floats_without_a_known_white_are_refused(tmp_path, values):
    picture = Image.fromarray(np.array([values], dtype=np.float32))
    path = saved(tmp_path, picture, "f.tif")
    with pytest.raises(ImageError, match=r"f\.tif holds"):
        read_image(path)


# --- more than eight bits --------------------------------------------------------------------

KEEPING = Preprocess.identity(3, (2, 4))
NEXT_TO_GREY = np.array([[32640 + n for n in range(4)], [0, 65535, 300, 301]], dtype=np.uint16)
"""All four of the first row are one level of eight bits."""


def png_of(values: np.ndarray) -> bytes:
    """Return 16-bit values [H, W] or [H, W, C] as a PNG whose rows are filtered in all ways."""
    values = values.reshape(*values.shape[:2], -1)
    height, width, channels = values.shape
    lines, rows = values.astype(">u2").tobytes(), b""
    step, stride = 2 * channels, 2 * channels * width
    for row in range(height):
        line = lines[row * stride : (row + 1) * stride]
        above = lines[(row - 1) * stride : row * stride] if row else bytes(stride)
        before = bytes(step) + line
        kind = row % 3  # as it is, less the pixel before, less the one above
        less = (bytes(stride), before, above)[kind]
        rows += bytes([kind]) + bytes((a - b) % 256 for a, b in zip(line, less, strict=False))
    return png(width, height, rows, depth=16, colour={1: 0, 3: 2, 4: 6}[channels])


@pytest.mark.parametrize("kind", ["grey.png", "grey.tif", "I.tif", "F.tif", "rgb.png", "rgba.png"])
def test_deep_pictures_keep_their_depth(kind, tmp_path):
    path, values = tmp_path / kind, NEXT_TO_GREY.astype(np.float64)
    colours = np.stack([values, values[:, ::-1], values[::-1]], axis=-1)
    if kind.startswith("rgb"):
        alpha = np.full((2, 4, 1), 65535)
        alpha[1, 2] = 0
        both = np.concatenate([colours, alpha], axis=2)
        path.write_bytes(png_of((both if kind == "rgba.png" else colours).astype(np.uint16)))
        if kind == "rgba.png":
            colours[1, 2] = 65535  # on white
    else:
        types = {"I.tif": np.int32, "F.tif": np.float32}
        Image.fromarray(NEXT_TO_GREY.astype(types.get(kind, np.uint16))).save(path)
        if kind == "grey.png":
            assert path.read_bytes() != path.write_bytes(png_of(NEXT_TO_GREY))
        colours = np.stack([values] * 3, axis=-1)
    found = KEEPING(path)[0].permute(1, 2, 0).double().numpy()
    np.testing.assert_allclose(found, colours / 65535, rtol=2e-7)
    grey = Preprocess.identity(1, (2, 4))(path)[0, 0].double().numpy()
    np.testing.assert_allclose(grey, colours @ [0.299, 0.587, 0.114] / 65535, rtol=4e-7)


def test_deep_pictures_are_resized_turned_and_cut_like_others(tmp_path):
    shallow = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    deep, exif = shallow.astype(np.uint16) * 257, Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(shallow).save(tmp_path / "shallow.png", exif=exif)
    body = png_of(deep)
    with Image.open(tmp_path / "shallow.png") as opened:
        turned = struct.pack(">I", len(opened.info["exif"]) - 6) + b"eXIf" + opened.info["exif"][6:]
    turned += struct.pack(">I", zlib.crc32(turned[4:]))
    (tmp_path / "deep.png").write_bytes(body[:33] + turned + body[33:])
    preprocess = Preprocess((0.0,) * 3, (1.0,) * 3, (12, 14), resize=16)
    found, expected = (preprocess(tmp_path / f"{name}.png") for name in ("deep", "shallow"))
    # Eight bits are rounded after each of the two directions.
    assert (found - expected).abs().max() < 1.1 / 255


def test_a_range_says_which_values_are_black_and_white(tmp_path):
    values = np.array([[-100, 0, 2000, 9000], [4095, 100, 1, 2]])
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "x-ray.tif")
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ImageError, match="name black and white with --range LOW,HIGH"):
        KEEPING(tmp_path / "x-ray.tif")
    ranged = replace(KEEPING, range=(0.0, 4095.0))
    for name in ("x-ray.tif", "float.tif"):
        found = ranged(tmp_path / name)[0, 0].numpy()
        np.testing.assert_allclose(found, (values / 4095).clip(0, 1), rtol=2e-7)
    eight = Image.fromarray(np.array([[50, 100, 75, 20], [0, 255, 100, 50]], dtype=np.uint8))
    found = replace(KEEPING, range=(50, 100))(eight)[0, 2]
    assert found.tolist() == [[0.0, 1.0, 0.5, 0.0], [0.0, 1.0, 1.0, 0.0]]
    with pytest.raises(ImageError, match="must be finite, black below white"):
        replace(KEEPING, range=(1.0, 1.0))


def test_a_deep_picture_that_uses_little_of_its_range_is_said_to(tmp_path):
    Image.fromarray(np.full((3, 3), 7, dtype=np.uint16)).save(tmp_path / "flat.png")
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(tmp_path / "12bit.png")
    KEEPING(tmp_path / "flat.png")
    with pytest.warns(PictureWarning, match="of 0 to 65,535: name .* such as --range 0,4095"):
        KEEPING(tmp_path / "12bit.png")
    replace(KEEPING, range=(0, 4095))(tmp_path / "12bit.png")


def test_reading_in_many_threads_leaves_the_warnings_as_they_were(tmp_path):
    Image.fromarray(NEXT_TO_GREY).save(tmp_path / "a.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as readers:
        list(readers.map(read_image, [tmp_path / "a.png"] * 400))
    assert warnings.filters == before


def test_one_bit(tmp_path):
    bits = Image.new("1", (2, 1))
    bits.putdata([1, 0])
    assert pixels(saved(tmp_path, bits, "b.png")) == grey(255, 0)


@pytest.mark.parametrize("name", ["inks.tif", "adobe.jpg"])
def test_cmyk(tmp_path, name):
    inks = {(0, 0, 0, 0): (255, 255, 255), (255, 0, 0, 0): (0, 255, 255), (0, 0, 0, 255): (0, 0, 0)}
    for number, (ink, colour) in enumerate(inks.items()):
        options = {"quality": 100} if name.endswith("jpg") else {}
        path = saved(tmp_path, Image.new("CMYK", (8, 8), ink), f"{number}{name}", **options)
        with Image.open(path) as opened:
            assert opened.mode == "CMYK"
            assert name != "adobe.jpg" or "adobe" in opened.info
        assert np.abs(np.array(read_image(path)).astype(int) - colour).max() <= 2


# Where each EXIF orientation puts the four corners A B / C D of the stored picture.
UPRIGHT = {1: "ABCD", 2: "BADC", 3: "DCBA", 4: "CDAB", 5: "ACBD", 6: "CADB", 7: "DBCA", 8: "BDAC"}


@pytest.mark.parametrize("name", ["e.png", "e.tif", "e.webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(tmp_path, orientation, name):
    levels = dict(zip("ABCD", (0, 80, 160, 240), strict=True))
    stored = Image.new("RGB", (2, 2))
    stored.putdata([(v, v, v) for v in levels.values()])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name.endswith("webp") else {}
    read = pixels(saved(tmp_path, stored, name, exif=exif, **options))
    assert [p[0] for row in read for p in row] == [levels[c] for c in UPRIGHT[orientation]]


def test_a_damaged_exif_block_turns_nothing(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (4, 2), "red"), "e.jpg", exif=b"Exif\0\0MM\0*\0\0\xff")
    assert read_image(path).size == (4, 2)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_the_first_frame_of_several(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if name.endswith("webp") else {}
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **options)
    assert pixels(path)[0][0] == (255, 0, 0)


# --- what cannot be read -----------------------------------------------------------------------


def refused(path: Path, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert not message.endswith(".")


def test_missing_with_near_matches(tmp_path):
    saved(tmp_path, Image.new("L", (1, 1)), "kitten.png")
    refused(tmp_path / "kiten.png", r"does not exist; did you mean 'kitten\.png'\?")
    refused(tmp_path / "nowhere" / "a.png", "does not exist$")


def test_folder_and_empty_and_text(tmp_path):
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "is empty")
    (tmp_path / "text.png").write_text("This is no picture.")
    refused(tmp_path / "text.png", "not an image")
    refused(Path("a\0b.png"), "cannot be opened|does not exist")


@pytest.mark.parametrize("name", ["c.jpg", "c.png", "c.gif", "c.tif", "c.webp", "c.bmp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_picture_cut_short_is_refused(tmp_path, photograph, name, share):
    with Image.open(photograph) as cat:
        path = saved(tmp_path, cat.convert("RGB"), name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, "cut short or damaged|not an image")


@given(st.data())
def test_flipped_bytes_never_escape_as_another_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "flipped"
    kind = data.draw(st.sampled_from(["PNG", "GIF", "TIFF", "WEBP", "JPEG", "BMP"]))
    Image.radial_gradient("L").resize((16, 16)).save(path, kind)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(ImageError):
        assert read_image(path).mode == "RGB"


def test_zero_sized(tmp_path):
    path = tmp_path / "none.png"
    path.write_bytes(png(0, 0, b""))
    refused(path, "size of zero")
    with pytest.raises(ImageError, match="has no pixels: its size is 0×3"):
        Preprocess.identity(3, (4, 4))(Image.new("RGB", (0, 3)))


def test_a_decompression_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(60000, 60000, b"\0" * 100))
    refused(path, "unpacks to over 178,956,970 pixels")


def test_a_large_photograph_is_read_without_a_warning(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("L", (30, 30), 7), "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)  # between half the pixels and all of them
    assert read_image(path).size == (30, 30)


# --- fitting a network -------------------------------------------------------------------------


def slow_preset(picture: Image.Image, resize: int, crop: int) -> np.ndarray:
    """torchvision's ImageClassification preset, after its source, pixel by pixel in numpy."""
    width, height = picture.size
    if width <= height:
        new_width, new_height = resize, int(resize * height / width)
    else:
        new_width, new_height = int(resize * width / height), resize
    values = np.array(picture.resize((new_width, new_height), Image.Resampling.BILINEAR))
    pad_x, pad_y = max(crop - new_width, 0), max(crop - new_height, 0)
    values = np.pad(
        values, ((pad_y // 2, (pad_y + 1) // 2), (pad_x // 2, (pad_x + 1) // 2), (0, 0))
    )
    top = round((values.shape[0] - crop) / 2.0)
    left = round((values.shape[1] - crop) / 2.0)
    output = np.empty((3, crop, crop), dtype=np.float32)
    for channel in range(3):
        plane = values[top : top + crop, left : left + crop, channel].astype(np.float32)
        scaled = plane / np.float32(255)
        output[channel] = (scaled - np.float32(IMAGENET.mean[channel])) / np.float32(
            IMAGENET.std[channel]
        )
    return output


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (224, 224), (383, 256), (57, 91)])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (235, 224), (40, 51), (32, 32)])
def test_preprocess_is_torchvisions_preset_bit_for_bit(photograph, size, resize, crop):
    cat = Image.open(photograph).convert("RGB").resize(size)
    preprocess = Preprocess(IMAGENET.mean, IMAGENET.std, (crop, crop), resize=resize)
    result = preprocess(cat)
    assert result.shape == (1, 3, crop, crop)
    assert result.dtype == torch.float32
    np.testing.assert_array_equal(result[0].numpy(), slow_preset(cat, resize, crop))


def test_crop_offsets_round_half_to_even():
    # Columns 0..4 of a 5-wide picture: 5 - 2 = 3, half is 1.5, which rounds to 2; 3 - 2 to 0.
    for width, start in ((5, 2), (3, 0)):
        picture = Image.new("L", (width, 2))
        picture.putdata([*range(width)] * 2)
        cropped = Preprocess((0.0,), (1.0,), (2, 2), resize=2)(picture) * 255
        assert cropped[0, 0].round().tolist() == [[start, start + 1]] * 2


def test_one_channel_is_grey_and_other_counts_want_tensors(photograph):
    net = Preprocess((0.25,), (0.5,), (3, 3))
    picture = Image.new("RGB", (3, 3), (255, 0, 0))
    # ITU-R 601: red weighs 0.299, 76 of 255.
    assert torch.allclose(net(picture), torch.full((1, 1, 3, 3), (76 / 255 - 0.25) / 0.5))
    with pytest.raises(ImageError, match=r"4 channels.*pass a tensor \[N, 4, 8, 9\]"):
        Preprocess.identity(4, (8, 9))(photograph)


def test_without_a_resize_the_whole_picture_is_squeezed():
    picture = Image.new("RGB", (40, 10), "white")
    picture.paste((0, 0, 0), (0, 0, 20, 10))
    values = Preprocess.identity(3, (10, 8))(picture)
    assert values.shape == (1, 3, 10, 8)
    assert values[0, 0, 5, 0] == 0
    assert values[0, 0, 5, -1] == 1


def test_batch_is_each_picture_by_itself(photograph):
    turned = Image.open(photograph).rotate(90)
    batch = IMAGENET.batch([photograph, turned])
    assert torch.equal(batch, torch.cat([IMAGENET(photograph), IMAGENET(turned)]))
    with pytest.raises(ImageError, match="no images"):
        IMAGENET.batch([])


def test_pixels_come_back(photograph):
    values = IMAGENET(photograph)
    shown = np.array(
        read_image(photograph).resize((384, 256), Image.Resampling.BILINEAR)
    )  # int(256 * 451 / 300) is 384
    expected = torch.from_numpy(shown[16:240, 80:304].copy()).permute(2, 0, 1)[None] / 255
    assert torch.allclose(IMAGENET.to_pixels(values), expected, atol=1e-6)
    # A projection's zero stays zero, and one unit of input is std of pixel.
    ones = torch.ones(2, 5, 3, 4, 4, dtype=torch.float64)
    shares = IMAGENET.difference_to_pixels(ones)
    assert shares[1, 4, :, 2, 2].tolist() == [0.229, 0.224, 0.225]
    assert not IMAGENET.difference_to_pixels(0 * ones).any()
    with pytest.raises(ImageError, match=r"\[1, 4, 4\] is not \[\.\.\., 3, H, W\]"):
        IMAGENET.to_pixels(torch.zeros(1, 4, 4))


@pytest.mark.parametrize(
    ("mean", "std", "size", "resize"),
    [
        ((0.0,), (1.0, 1.0), (2, 2), None),
        ((), (), (2, 2), None),
        ((0.0,), (0.0,), (2, 2), None),
        ((float("nan"),), (1.0,), (2, 2), None),
        ((0.0,), (1.0,), (0, 2), None),
        ((0.0,), (1.0,), (2, 2), 0),
    ],
)
def test_senseless_numbers_are_refused(mean, std, size, resize):
    with pytest.raises(ImageError):
        Preprocess(mean, std, size, resize)


def test_a_thread_of_a_picture_is_refused():
    with pytest.raises(ImageError, match="too long and thin"):
        IMAGENET(Image.new("RGB", (100_000, 1)))


# --- showing signed values ---------------------------------------------------------------------


def test_the_limit_is_a_quantile_of_what_is_not_zero():
    values = np.zeros((3, 100, 100))
    values[0, 0, :11] = [*range(1, 11), -11]
    half = display_scale(values, quantile=0.5)
    assert half == DisplayScale(limit=6.0, clipped=5 / 11, quantile=0.5)
    assert display_scale(values, quantile=1.0).limit == 11
    assert display_scale(values, quantile=1.0).clipped == 0


def test_a_tile_of_few_pixels_is_not_clipped():
    values = torch.arange(1.0, 28.0).view(3, 3, 3)
    assert display_scale(values) == DisplayScale(limit=27.0, clipped=0.0, quantile=0.999)


def test_a_small_window_in_a_large_picture_does_not_saturate():
    projection = torch.zeros(3, 224, 224)
    projection[:, 50:61, 50:61] = torch.randn(3, 11, 11, generator=torch.manual_seed(1))
    scale = display_scale(projection)
    painted = to_display(projection, scale)[50:61, 50:61]
    assert scale.clipped < 0.005
    assert ((painted == 0) | (painted == 255)).mean() < 0.01


def test_display_levels_are_symmetric():
    values = torch.tensor([[[-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]]])
    painted = to_display(values, DisplayScale(limit=1.0, clipped=0.0, quantile=1.0))
    assert painted.dtype == np.uint8
    assert painted[0, :, 0].tolist() == [0, 0, 64, 128, 191, 255, 255]
    assert (painted == painted[..., :1]).all()


def test_all_zero_is_mid_grey():
    scale = display_scale(np.zeros((3, 4, 4)))
    assert scale == DisplayScale(0.0, 0.0, 0.999)
    assert (to_display(np.zeros((3, 4, 4)), scale) == 128).all()
    assert display_scale(np.zeros((0, 3, 4, 4))).limit == 0


def test_nan_and_infinity_are_counted_and_painted_magenta():
    values = np.ones((3, 2, 2), dtype=np.float32)
    values[1, 0, 0], values[2, 1, 1] = np.nan, -np.inf
    scale = display_scale(values, quantile=1.0)
    assert scale == DisplayScale(1.0, 0.0, 1.0, not_finite=2)
    painted = to_display(values, scale)
    assert painted[0, 0].tolist() == painted[1, 1].tolist() == [255, 0, 255]
    assert painted[0, 1].tolist() == [255, 255, 255]


def test_one_scale_for_many_tiles_or_one_each():
    tiles = torch.tensor([1.0, 4.0]).reshape(2, 1, 1, 1).expand(2, 3, 5, 6)
    shared = to_display(tiles, display_scale(tiles, 1.0))
    assert shared.shape == (2, 5, 6, 3)
    assert shared[:, 0, 0, 0].tolist() == [159, 255]  # 127.5 + 127.5 / 4 = 159.4
    assert to_display(tiles[0], display_scale(tiles[0], 1.0))[0, 0, 0] == 255


def test_shapes_and_quantiles_that_mean_nothing_are_refused():
    with pytest.raises(ImageError, match=r"\[2, 4, 4\]"):
        to_display(np.zeros((2, 4, 4)), DisplayScale(1.0, 0.0, 1.0))
    with pytest.raises(ImageError, match="quantile"):
        display_scale(np.zeros(3), quantile=1.5)
