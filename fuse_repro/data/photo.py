"""One photo file -> one RGB image, or one clear line about why not."""

import importlib.util
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from fuse_repro.errors import UsageError
from fuse_repro.storage.reading import open_regular

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")  # what phones write; read by the package pillow-heif
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
NO_HEIF = "HEIC photographs need pillow-heif: pip install 'fuse_repro[heif]'"
# Kinds of photographs, pictures and videos that people have, too.
UNREAD = re.compile(
    r"\.(jxl|jp2|j2k|svg|psd|xcf|tga|ico|eps|raw|dng|cr[23]|nef|arw|orf|rw2|raf|pef|mov|mp4|m4v|avi|mkv|webm|3gp)"
)
JPEG_START = b"\xff\xd8\xff"
SMALLER = (2, 4)  # a JPEG can be decoded at a half or a quarter of its width and height
MOST_TIMES = 8  # as many pixels as Pillow holds safe may a JPEG have that is decoded so


def can_read_heif() -> bool:
    """Whether pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def suffixes() -> tuple[str, ...]:
    """Of the files that can be read here."""
    return (*SUFFIXES, *HEIF_SUFFIXES) if can_read_heif() else SUFFIXES


def load_image(path: str | Path) -> Image.Image:
    """Read a photo completely: turned as its EXIF data says, transparency on white, mode RGB.

    Of an animation the first picture is taken; grey values of 16 bits and more are scaled to 8. What a file is, its
    first bytes say, whatever its name. A JPEG with more pixels than Pillow holds safe
    (`PIL.Image.MAX_IMAGE_PIXELS`, a guard against decompression bombs) is decoded at a half or a quarter of its
    width and height.

    Raises:
        UsageError: if the file is missing, damaged, no image of a known format, has too many pixels, or is a HEIC
            photograph and pillow-heif is not installed.
    """
    path = Path(path)
    remedy = f"give a readable {', '.join(suffix[1:] for suffix in suffixes())} file"
    try:
        with open_regular(path) as stream, _opened(stream) as file:
            return _rgb(ImageOps.exif_transpose(file))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UsageError(f"{path} is too large for a photo: shrink it below {limit} million pixels") from err
    except FileNotFoundError as err:
        raise UsageError(f"{path} does not exist: {remedy}") from err
    except UnidentifiedImageError as err:
        raise UsageError(f"{path} is not an image: {remedy}") from err
    except UsageError as err:
        raise UsageError(f"{path} cannot be read: {err}") from err
    except Exception as err:  # decoders raise nearly anything on damaged data
        raise UsageError(f"{path} cannot be read ({_reason(err)}): {remedy}") from err


@contextmanager
def _opened(stream: BinaryIO) -> Iterator[Image.Image]:
    """The picture, not decoded yet. Raises what Pillow raises; UsageError for a HEIC that nothing here reads."""
    head = stream.read(12)
    stream.seek(0)
    formats = [*FORMATS]
    is_heif, readable = head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS, can_read_heif()
    if is_heif and readable:
        _read_heif()
        formats.append("HEIF")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged files, which end in an error or a picture
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            file: Image.Image = Image.open(stream, formats=formats)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            if not head.startswith(JPEG_START):
                raise
            stream.seek(0)
            file = _smaller_jpeg(stream)
        except UnidentifiedImageError as err:  # not at once: some AVIF begins as HEIC does
            if is_heif and not readable:
                raise UsageError(NO_HEIF) from err
            raise
        with file:
            yield file


def _smaller_jpeg(stream: BinaryIO) -> Image.Image:
    """A JPEG that is decoded at the largest fraction with no more pixels than Pillow holds safe.

    Raises:
        Image.DecompressionBombError: its file would still take too much memory while it is decoded.
    """
    file = JpegImagePlugin.JpegImageFile(stream)
    limit, (width, height) = Image.MAX_IMAGE_PIXELS or 0, file.size
    for times in SMALLER:
        if width * height <= min(limit * times**2, limit * MOST_TIMES):
            file.draft("RGB", (max(width // times, 1), max(height // times, 1)))
            return file
    raise Image.DecompressionBombError


@cache
def _read_heif() -> None:
    """Have Pillow read HEIC photographs. Raises ImportError where pillow-heif is not installed."""
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    if image.mode in ("I", "F"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey values of 32 bits, which a TIFF may hold, as 8 bits: of the range from 0 to 1, 255, 65,535 or 2^32 - 1."""
    image = image.convert("F")
    low, high = cast(tuple[float, float], image.getextrema())
    top = next((top for top in (1.0, 255.0, 65535.0) if high <= top and low >= 0), 2.0**32 - 1)
    return image.point(lambda value: value * (255 / top)).convert("L")


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
