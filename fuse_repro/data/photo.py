"""One photo file -> one RGB image, or one clear line about why not."""

import re
import warnings
from pathlib import Path

from PIL import Image, ImageOps

from fuse_repro.errors import UsageError
from fuse_repro.storage.reading import open_regular

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# Kinds of photographs and pictures that people have, too.
UNREAD = re.compile(
    r"\.(hei[cf]|hif|avif|jxl|jp2|j2k|svg|psd|xcf|tga|ico|eps|raw|dng|cr[23]|nef|arw|orf|rw2|raf|pef)"
)


def load_image(path: str | Path) -> Image.Image:
    """Read a photo completely: turned as its EXIF data says, transparency on white, mode RGB.

    Of an animation the first picture is taken; 16-bit grey values are scaled to 8 bits.

    Raises:
        UsageError: if the file is missing, damaged, no image of a known format, or has more pixels than
            Pillow holds safe (`PIL.Image.MAX_IMAGE_PIXELS`, a guard against decompression bombs).
    """
    path = Path(path)
    remedy = f"give a readable {', '.join(suffix[1:] for suffix in SUFFIXES)} file"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_regular(path) as stream, Image.open(stream, formats=FORMATS) as file:
                return _rgb(ImageOps.exif_transpose(file))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UsageError(f"{path} is too large for a photo: shrink it below {limit} million pixels") from err
    except FileNotFoundError as err:
        raise UsageError(f"{path} does not exist: {remedy}") from err
    except Image.UnidentifiedImageError as err:
        raise UsageError(f"{path} is not an image: {remedy}") from err
    except Exception as err:  # decoders raise nearly anything on damaged data
        raise UsageError(f"{path} cannot be read ({_reason(err)}): {remedy}") from err


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256, "L").convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
