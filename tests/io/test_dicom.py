from __future__ import annotations

import io
import itertools
import struct
import time
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.pixels import pixel_array
from pydicom.pixels.encoders import RLELosslessEncoder

from napari_graydet.errors import ImageError, LimitError
from napari_graydet.io import limits
from napari_graydet.io.dicom import decode_dicom
from napari_graydet.io.dicom_tags import is_dicom
from napari_graydet.io.images import find_images, read_image
from tests.io.helpers import bare_dicom, dicom, dicom_bytes, dicom_dataset, encapsulated, gradient

SHAPE = (21, 34)
DEEP = gradient(SHAPE, 4096, "uint16")


def stored_values(bits: int, signed: bool) -> np.ndarray:
    """Values that use both ends of the stored range."""
    lowest = -(2 ** (bits - 1)) if signed else 0
    kind = "i" if signed else "u"
    values = np.arange(SHAPE[0] * SHAPE[1]) * 997 % 2**bits + lowest
    values[:2] = lowest, lowest + 2**bits - 1
    return values.reshape(SHAPE).astype(f"{kind}{1 if bits == 8 else 2}")


SYNTAXES = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(8, 17))
def test_matrix_of_stored_values(bits: int, signed: bool, photometric: str) -> None:
    values = stored_values(bits, signed)
    for slope in (None, 1, 2.5, -1):
        data = dicom(
            values, bits=bits, photometric=photometric, RescaleSlope=slope, RescaleIntercept=-10
        )
        decoded = decode_dicom(data, "a.dcm", None)
        np.testing.assert_array_equal(decoded.pixels, values)
        assert decoded.pixels.dtype in (np.uint8, np.uint16, np.int16)
        assert (decoded.bits, decoded.signed) == (bits, signed)
        assert decoded.inverted == ((photometric == "MONOCHROME1") != (slope == -1))
        assert (decoded.slope, decoded.intercept) == (slope or 1, -10)


@settings(max_examples=150)
@given(
    st.data(),
    st.sampled_from([8, 16]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_bits_are_taken_from_any_place_of_the_container(
    data: st.DataObject, allocated: int, signed: bool, seed: int
) -> None:
    stored = data.draw(st.integers(8, allocated))
    high = data.draw(st.integers(stored - 1, allocated - 1))
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**stored, SHAPE)
    noise = rng.integers(0, 2**allocated, SHAPE)
    shift = high + 1 - stored
    field = (2**stored - 1) << shift
    container = ((values << shift) | (noise & ~field)).astype(f"u{allocated // 8}")
    kind = "i" if signed else "u"
    file = dicom(container.view(f"{kind}{allocated // 8}"), bits=stored, high_bit=high)
    expected = np.where(values >= 2 ** (stored - 1), values - 2**stored, values)
    np.testing.assert_array_equal(
        decode_dicom(file, "a.dcm", None).pixels, expected if signed else values
    )


def big_endian(values: np.ndarray, vr: str) -> bytes:
    dataset = dicom_dataset(values, syntax=uid.ExplicitVRBigEndian)
    if values.dtype.itemsize == 2:
        dataset.PixelData = values.byteswap().tobytes()
    elif vr == "OW":
        dataset.PixelData = np.frombuffer(dataset.PixelData, "u2").byteswap().tobytes()
    dataset["PixelData"].VR = vr
    return dicom_bytes(dataset)


@pytest.mark.parametrize(
    ("dtype", "vr"), [("uint16", "OW"), ("int16", "OW"), ("uint8", "OB"), ("uint8", "OW")]
)
def test_big_endian_is_read_as_by_pydicom(dtype: str, vr: str) -> None:
    values = gradient((7, 9), 256, dtype)
    data = big_endian(values, vr)
    np.testing.assert_array_equal(pixel_array(io.BytesIO(data)), values)
    np.testing.assert_array_equal(decode_dicom(data, "a.dcm", None).pixels, values)


def test_implicit_little_endian_and_absent_optional_tags() -> None:
    absent = dict.fromkeys(
        ["HighBit", "PhotometricInterpretation", "SamplesPerPixel", "PixelRepresentation"]
    )
    data = dicom(DEEP, syntax=uid.ImplicitVRLittleEndian, **absent)
    decoded = decode_dicom(data, "a.dcm", None)
    np.testing.assert_array_equal(decoded.pixels, DEEP)
    assert decoded.spacing_mm is None
    assert decoded.padding is None


def test_files_without_preamble_are_read() -> None:
    data = dicom(DEEP)[132:]
    assert is_dicom(data[:132])
    np.testing.assert_array_equal(decode_dicom(data, "a.dcm", None).pixels, DEEP)


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "PixelData", "BitsAllocated"])
def test_absent_needed_tags_are_refused_or_harmless(keyword: str) -> None:
    data = dicom(DEEP, **{keyword: None})
    if keyword == "BitsAllocated":  # 16 is what nearly all radiographs have
        np.testing.assert_array_equal(decode_dicom(data, "a", None).pixels, DEEP)
    else:
        with pytest.raises(ImageError):
            decode_dicom(data, "a", None)


# --- compressed -------------------------------------------------------------------------------


def rle(values: np.ndarray, samples: int = 1) -> bytes:
    return RLELosslessEncoder.encode(
        values.tobytes(),
        rows=values.shape[0],
        columns=values.shape[1],
        samples_per_pixel=samples,
        number_of_frames=1,
        bits_allocated=8 * values.dtype.itemsize,
        bits_stored=8 * values.dtype.itemsize,
        pixel_representation=int(values.dtype.kind == "i"),
        photometric_interpretation="MONOCHROME2" if samples == 1 else "RGB",
        planar_configuration=0,
    )


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_rle_is_read_as_by_pydicom(bits: int, signed: bool) -> None:
    values = stored_values(bits, signed)
    data = encapsulated(values, [rle(values)], uid.RLELossless, bits=bits)
    np.testing.assert_array_equal(pixel_array(io.BytesIO(data)), values)
    np.testing.assert_array_equal(decode_dicom(data, "a.dcm", None).pixels, values)


def lossless_jpeg(values: np.ndarray) -> bytes:
    return imagecodecs.ljpeg_encode(values, bitspersample=12)


def jpeg_2000(values: np.ndarray) -> bytes:
    return imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, level=0)


CODECS = [
    (uid.JPEGLossless, lossless_jpeg),
    (uid.JPEGLosslessSV1, lossless_jpeg),
    (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
    (uid.JPEG2000Lossless, jpeg_2000),
]
IDS = [syntax.name for syntax, _ in CODECS]


@pytest.mark.parametrize(("syntax", "encode"), CODECS, ids=IDS)
def test_lossless_compressions_are_exact(syntax: str, encode) -> None:
    data = encapsulated(DEEP, [encode(DEEP)], syntax, bits=12)
    np.testing.assert_array_equal(decode_dicom(data, "a.dcm", None).pixels, DEEP)


def test_signed_jpeg_2000_and_jpeg_ls() -> None:
    signed = stored_values(16, True)
    data = encapsulated(signed, [jpeg_2000(signed)], uid.JPEG2000Lossless)
    np.testing.assert_array_equal(decode_dicom(data, "a", None).pixels, signed)
    stream = imagecodecs.jpegls_encode(signed.view("uint16"))  # it knows no sign
    data = encapsulated(signed, [stream], uid.JPEGLSLossless)
    np.testing.assert_array_equal(decode_dicom(data, "a", None).pixels, signed)


@pytest.mark.parametrize("bits", [8, 12])
def test_lossy_jpeg_is_read_closely(bits: int) -> None:
    values = (np.add.outer(np.arange(64), np.arange(64)) * 2 ** (bits - 8)).astype("uint16")
    values = values.astype("uint8") if bits == 8 else values
    stream = imagecodecs.jpeg8_encode(values, level=95, bitspersample=bits)
    syntax = uid.JPEGBaseline8Bit if bits == 8 else uid.JPEGExtended12Bit
    decoded = decode_dicom(encapsulated(values, [stream], syntax, bits=bits), "a", None)
    assert np.abs(decoded.pixels.astype(int) - values).max() < 2**bits / 40


@pytest.mark.parametrize(("syntax", "encode"), [*CODECS, (uid.RLELossless, rle)])
def test_truncated_streams_are_refused(syntax: str, encode) -> None:
    stream = encode(DEEP)
    for length in range(2, len(stream) - 2, max(len(stream) // 40, 1)):
        data = encapsulated(DEEP, [stream[:length]], syntax, bits=12)
        with pytest.raises(ImageError):
            decode_dicom(data, "a.dcm", None)


@pytest.mark.parametrize(("syntax", "encode"), [*CODECS, (uid.RLELossless, rle)])
def test_a_stream_of_another_size_is_refused(syntax: str, encode) -> None:
    data = encapsulated(DEEP, [encode(DEEP)], syntax, bits=12, Rows=SHAPE[0] + 1)
    with pytest.raises(ImageError):
        decode_dicom(data, "a.dcm", None)


def test_unknown_compressions_are_named() -> None:
    data = encapsulated(DEEP, [b"x" * 100], uid.MPEG2MPML)
    with pytest.raises(ImageError, match="MPEG2"):
        decode_dicom(data, "a.dcm", None)


# --- frames, colours, other contents ------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
def test_single_frames_are_picked(compressed: bool) -> None:
    stack = np.stack([DEEP, DEEP // 2, DEEP // 3])
    if compressed:
        data = encapsulated(stack, [rle(frame) for frame in stack], uid.RLELossless)
    else:
        data = dicom(stack)
    for index, frame in enumerate(stack):
        np.testing.assert_array_equal(decode_dicom(data, "a", index).pixels, frame)
    with pytest.raises(ImageError, match=r"3 frames.*frame=k"):
        decode_dicom(data, "a", None)
    for wrong in (3, -1):
        with pytest.raises(ImageError, match="frames 0 to 2"):
            decode_dicom(data, "a", wrong)


def test_frame_0_of_a_single_frame() -> None:
    np.testing.assert_array_equal(decode_dicom(dicom(DEEP), "a", 0).pixels, DEEP)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("compressed", [False, True])
def test_rgb_that_is_gray_is_read_and_colour_refused(planar: int, compressed: bool) -> None:
    gray = gradient(SHAPE, 256)
    stack = np.repeat(gray[..., None], 3, axis=2)

    def file(colour: np.ndarray) -> bytes:
        if compressed:
            return encapsulated(colour, [rle(colour, 3)], uid.RLELossless, photometric="RGB")
        dataset = dicom_dataset(colour, photometric="RGB", PlanarConfiguration=planar)
        dataset.PixelData = (np.moveaxis(colour, -1, 0) if planar else colour).tobytes()
        return dicom_bytes(dataset)

    np.testing.assert_array_equal(decode_dicom(file(stack), "a", None).pixels, gray)
    stack[0, 0, 0] ^= 1
    with pytest.raises(ImageError, match="colour"):
        decode_dicom(file(stack), "a", None)


def test_brightness_with_neutral_colour_is_gray() -> None:
    gray = gradient(SHAPE, 256)
    stack = np.dstack([gray, np.full_like(gray, 128), np.full_like(gray, 128)])
    data = dicom(stack, photometric="YBR_FULL")
    np.testing.assert_array_equal(decode_dicom(data, "a", None).pixels, gray)


def test_palettes_that_are_gray_are_looked_up() -> None:
    gray = gradient(SHAPE, 256)
    dataset = dicom_dataset(gray, photometric="PALETTE COLOR")
    ramp = (np.arange(256)[::-1] * 257).astype("<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", ramp)
    decoded = decode_dicom(dicom_bytes(dataset), "a", None)
    assert decoded.bits == 16
    np.testing.assert_array_equal(decoded.pixels, (255 - gray.astype("uint16")) * 257)


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "1 bits in 1"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "32 bits in 32"),
        ({"BitsStored": 7, "HighBit": 6}, "7 bits in 16"),
        ({"BitsStored": 17, "HighBit": 16}, "17 bits in 16"),
        ({"HighBit": 3}, "HighBit"),
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation"),
        ({"SamplesPerPixel": 3}, "3 sample"),
        ({"Rows": 0}, "no pixels"),
        ({"Rows": 22}, "not enough"),
    ],
)
def test_what_is_not_a_radiograph_is_named(tags: dict, what: str) -> None:
    with pytest.raises(ImageError, match=what) as info:
        decode_dicom(dicom(DEEP, **tags), "a.dcm", None)
    assert "\n" not in str(info.value)


def test_floating_point_and_reports_are_named() -> None:
    dataset = dicom_dataset(DEEP, PixelData=None)
    dataset.FloatPixelData = DEEP.astype("<f4").tobytes()
    with pytest.raises(ImageError, match="floating point"):
        decode_dicom(dicom_bytes(dataset), "a", None)
    report = dicom_dataset(DEEP, PixelData=None, SOPClassUID=uid.BasicTextSRStorage)
    with pytest.raises(ImageError, match="Basic Text SR"):
        decode_dicom(dicom_bytes(report), "a", None)


# --- tags ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.4]}, (0.2, 0.1)),
        ({"PixelSpacing": [0, 0.1], "ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        ({"PixelSpacing": [-1, 1]}, None),
        ({"PixelSpacing": [1, 1, 1]}, None),
    ],
)
def test_spacing(tags: dict, spacing: tuple[float, float] | None) -> None:
    assert decode_dicom(dicom(DEEP, **tags), "a", None).spacing_mm == spacing


def test_senseless_rescale_and_modality_lut_are_noted() -> None:
    decoded = decode_dicom(dicom(DEEP, RescaleSlope=0, RescaleIntercept=5), "a", None)
    assert (decoded.slope, decoded.intercept) == (1, 0)
    assert "senseless" in decoded.notes[0]
    table = pydicom.Dataset()
    table.LUTDescriptor = [2, 0, 16]
    table.LUTData = [0, 1]
    table["LUTData"].VR = "US"
    data = dicom(DEEP, ModalityLUTSequence=[table])
    assert "LUT" in decode_dicom(data, "a", None).notes[0]


def test_units() -> None:
    assert decode_dicom(dicom(DEEP, RescaleType="HU"), "a", None).unit == "HU"
    assert decode_dicom(dicom(DEEP, RescaleType="US"), "a", None).unit == ""


def test_padding_is_left_out_of_the_window(tmp_path) -> None:
    values = np.full((100, 100), 4095, np.uint16)
    values[20:80, 20:80] = 1000 + np.arange(3600).reshape(60, 60) % 500
    dataset = dicom_dataset(values, bits=12)
    dataset.add_new("PixelPaddingValue", "US", 4095)
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(dataset))
    scale = read_image(tmp_path / "a.dcm").scale
    assert 995 < scale.black < 1005
    assert 1495 < scale.white < 1505


TEXT_TAGS = [
    "PatientName", "PatientID", "InstitutionName", "SOPClassUID", "PhotometricInterpretation",
    "RescaleSlope", "RescaleType", "Rows", "BitsStored", "NumberOfFrames", "PixelSpacing",
    "SpecificCharacterSet", "PixelPaddingValue", "HighBit", "TransferSyntaxUID",
]  # fmt: skip


@pytest.mark.parametrize("keyword", TEXT_TAGS)
@pytest.mark.parametrize("pixels", [True, False])
def test_messages_notes_and_log_quote_no_tag(
    keyword: str, pixels: bool, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """A patient's name may stand in any tag, and messages are pasted into public places."""
    dataset = dicom_dataset(DEEP, bits=12)
    if not pixels:
        del dataset.PixelData
    vr = pydicom.datadict.dictionary_VR(keyword)
    file = dicom_bytes(dataset)
    tag = pydicom.datadict.tag_for_keyword(keyword)
    text = b"CANARY^JOHN "
    element = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"LO", len(text)) + text
    for vr_code in (b"LO", vr[:2].encode()):
        element = element[:4] + vr_code + element[6:]
        try:
            decoded = decode_dicom(file + element, "a.dcm", None)
        except ImageError as error:
            assert "CANARY" not in str(error)
        else:
            assert not any("CANARY" in note for note in decoded.notes)
    assert "CANARY" not in caplog.text
    assert not any("CANARY" in str(warning.message) for warning in recwarn)


# --- limits -------------------------------------------------------------------------------------


def measured(data: bytes) -> tuple[float, int]:
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(LimitError):
        decode_dicom(data, "a.dcm", 0)
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


def test_bombs_are_refused_at_once_and_without_memory() -> None:
    bombs = [
        dicom(DEEP, Rows=65_535, Columns=65_535),
        dicom(DEEP, NumberOfFrames=2**31 - 1),
        encapsulated(DEEP, [rle(DEEP)], uid.RLELossless, Rows=65_535, Columns=65_535),
    ]
    for data in bombs:
        seconds, peak = measured(data)
        assert seconds < 1
        assert peak < 10**7


@pytest.mark.parametrize(("syntax", "encode"), CODECS, ids=IDS)
def test_streams_that_are_larger_than_their_tags_say(syntax, encode, monkeypatch) -> None:
    monkeypatch.setattr(limits, "MAX_PIXELS", 10_000)
    large = gradient((200, 200), 4096, "uint16")
    with pytest.raises(LimitError):
        decode_dicom(encapsulated(DEEP, [encode(large)], syntax, bits=12), "a", None)


def deflated(values: np.ndarray, **tags: object) -> bytes:
    return dicom(values, syntax=uid.DeflatedExplicitVRLittleEndian, **tags)


def meta_end(data: bytes) -> int:
    return 132 + 12 + int.from_bytes(data[140:144], "little")


@pytest.mark.parametrize("start", [0, 132], ids=["preamble", "bare"])
def test_deflated_files_are_read_as_by_pydicom(start: int) -> None:
    values = stored_values(12, True)
    data = deflated(values, bits=12, photometric="MONOCHROME1", PixelSpacing=[0.2, 0.1])
    assert values.tobytes() not in data  # it really is packed
    np.testing.assert_array_equal(pydicom.dcmread(io.BytesIO(data)).pixel_array, values)
    assert is_dicom(data[start : start + 132])
    decoded = decode_dicom(data[start:], "a.dcm", None)
    np.testing.assert_array_equal(decoded.pixels, values)
    assert (decoded.bits, decoded.inverted, decoded.spacing_mm) == (12, True, (0.2, 0.1))


def test_a_deflated_file_that_is_cut_off_or_damaged_is_refused() -> None:
    data = deflated(DEEP)
    for length in range(meta_end(data), len(data) - 2, 41):
        with pytest.raises(ImageError) as info:
            decode_dicom(data[:length], "a.dcm", None)
        assert "\n" not in str(info.value)
    with pytest.raises(ImageError):
        decode_dicom(data[: meta_end(data)] + b"\xff" * 500, "a.dcm", None)


def test_deflated_bombs_are_refused_before_they_take_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 2**21)
    head = deflated(DEEP)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(100_000_000)) + packer.flush()
    seconds, peak = measured(head[: meta_end(head)] + bomb)
    assert seconds < 1
    assert peak < 10**7


# --- without preamble ---------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("implicit", [False, True])
def test_bare_tags_are_recognised_and_read(bits: int, implicit: bool, tmp_path) -> None:
    values = stored_values(bits, False)
    data = bare_dicom(values, bits=bits, implicit=implicit, PixelSpacing=[0.2, 0.1])
    (tmp_path / "IM0001").write_bytes(data)
    assert find_images(tmp_path) == [tmp_path / "IM0001"]
    image = read_image(tmp_path / "IM0001")
    np.testing.assert_array_equal(image.pixels, values)
    assert image.spacing_mm == (0.2, 0.1)


def test_bare_tags_may_begin_with_lengths_of_groups_and_names_of_any_script() -> None:
    data = bare_dicom(DEEP, SpecificCharacterSet="ISO_IR 192", Manufacturer="Röntgen")
    for begin in (struct.pack("<HHII", 8, 0, 4, 300), struct.pack("<HHII", 8, 1, 4, 3000)):
        assert is_dicom((begin + data)[:132])
        np.testing.assert_array_equal(decode_dicom(begin + data, "a", None).pixels, DEEP)


IMPLICIT = bare_dicom(DEEP)[:132]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"\x09"),  # another group
        (2, b"\x19\x99"),  # a tag that there is not
        (4, b"\x07"),  # an odd length
        (4, b"\xff\xff\xff\xff"),  # a text without end
        (8, b"\x02"),  # a UID with control characters
        (4, b"\x00\x01"),  # one tag alone in sight
    ],
)
def test_bytes_that_only_begin_like_bare_tags_are_no_dicom(
    place: int, value: bytes, tmp_path
) -> None:
    assert is_dicom(IMPLICIT)
    data = IMPLICIT[:place] + value + IMPLICIT[place + len(value) :]
    assert not is_dicom(data)
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(ImageError, match="not a PNG, JPEG, TIFF or DICOM") as info:
        read_image(tmp_path / "a.dcm")
    assert "\n" not in str(info.value)


def test_tags_that_do_not_rise_are_no_dicom() -> None:
    first, second = struct.pack("<HHI", 8, 0x16, 2) + b"1\0", struct.pack("<HHI", 8, 5, 2) + b"A "
    assert is_dicom(second + first)
    assert not is_dicom(first + second)


@settings(max_examples=200)
@given(st.binary(max_size=132))
def test_random_bytes_are_no_dicom(tail: bytes) -> None:
    for begin in (b"", b"\x08\0", b"\x08\0\x05\0", b"\x02\0\0\0"):
        head = (begin + tail)[:132]
        assert not is_dicom(head) or head[4:6] in (b"UL", b"UI", b"OB", b"CS", b"DA", b"SH", b"LO")


def test_no_other_file_looks_like_dicom() -> None:
    for head in itertools.chain([b"", b"II*\0", b"\0" * 132, b"DICM"], [b"\x08\0" * 66]):
        assert not is_dicom(head)


def test_the_syntax_is_guessed_if_the_file_does_not_say() -> None:
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian):
        whole = dicom(DEEP, syntax=syntax)
        meta_end = 132 + 12 + int.from_bytes(whole[140:144], "little")
        data = whole[:132] + whole[meta_end:]
        np.testing.assert_array_equal(decode_dicom(data, "a.dcm", None).pixels, DEEP)


def test_lossy_jpeg_in_rgb_that_is_gray_is_read() -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype("uint8")
    stack = np.dstack([smooth] * 3)
    stream = imagecodecs.jpeg8_encode(stack, level=90)
    data = encapsulated(stack, [stream], uid.JPEGBaseline8Bit, photometric="YBR_FULL_422")
    assert np.abs(decode_dicom(data, "a", None).pixels.astype(int) - smooth).max() < 10


def test_subsampled_native_colour_is_named() -> None:
    stack = np.dstack([gradient(SHAPE, 256)] * 3)
    with pytest.raises(ImageError, match="subsampled"):
        decode_dicom(dicom(stack, photometric="YBR_FULL_422"), "a", None)
