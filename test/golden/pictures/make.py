"""Makes the pictures of this folder and pixels.json, which says what Pillow reads of them.

    python3 make.py        # needs Pillow 11 or newer

Kinds of JPEG and WebP that cameras, editors and scanners write, small enough to be cut off at every byte.
"""

import base64
import io
import json
import struct
from pathlib import Path

from PIL import Image, ImageOps

HERE = Path(__file__).parent
WIDTH, HEIGHT = 21, 17


def picture():
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.putdata([(x * 12, y * 15, (3 * x + 5 * y) % 256) for y in range(HEIGHT) for x in range(WIDTH)])
    return image


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def segments(jpeg):
    """Markers and their bytes up to the first scan, then the rest."""
    at, found = 2, []
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        found.append((jpeg[at + 1], jpeg[at:end]))
        at = end
    return found, jpeg[at:]


def without(jpeg, marker):
    found, rest = segments(jpeg)
    return b"\xff\xd8" + b"".join(data for own, data in found if own != marker) + rest


def numbered(jpeg):
    """Components 1, 2, 3 where they were R, G, B; only the Adobe marker then says what they are."""
    found, rest = segments(jpeg)
    out = b"\xff\xd8"
    for own, data in found:
        if own == 0xC0:
            data = data[:10] + b"".join(bytes([i + 1]) + data[11 + 3 * i : 13 + 3 * i] for i in range(3))
        out += data
    return out + rest[:5] + b"".join(bytes([i + 1, rest[6 + 2 * i]]) for i in range(3)) + rest[11:]


def main():
    rgb = picture()
    rgba = rgb.copy()
    rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
    turned = Image.Exif()
    turned[0x0112] = 6
    own = saved(rgb, "JPEG", keep_rgb=True, quality=95)
    with_exif = saved(rgb, "JPEG", exif=turned, quality=95)
    files = {
        "grey.jpg": saved(rgb.convert("L"), "JPEG"),
        "444.jpg": saved(rgb, "JPEG", subsampling=0, quality=90),
        "422.jpg": saved(rgb, "JPEG", subsampling=1),
        "420.jpg": saved(rgb, "JPEG", subsampling=2),
        "progressive.jpg": saved(rgb, "JPEG", progressive=True),
        "restarts.jpg": saved(rgb, "JPEG", restart_marker_blocks=1),
        "rgb.jpg": own,
        "rgb-by-names.jpg": without(own, 0xEE),
        "rgb-by-adobe.jpg": numbered(own),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG", quality=90),
        "turned.jpg": with_exif,
        "turned-fill.jpg": with_exif[:2] + b"\xff\xff\xff" + with_exif[2:],
        "trailing.jpg": saved(rgb, "JPEG") + b"after its end",
        "lossy.webp": saved(rgb, "WEBP"),
        "lossless.webp": saved(rgb, "WEBP", lossless=True),
        "alpha.webp": saved(rgba, "WEBP"),
        "alpha-lossless.webp": saved(rgba, "WEBP", lossless=True, exact=True),
        "turned.webp": saved(rgb, "WEBP", lossless=True, exif=turned),
        "animated.webp": saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)]),
    }
    pixels = {}
    for name, data in files.items():
        (HERE / name).write_bytes(data)
        shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
        pixels[name] = {"width": shown.width, "height": shown.height, "rgba": base64.b64encode(shown.tobytes()).decode()}
    (HERE / "pixels.json").write_text(json.dumps(pixels, indent=1) + "\n")


main()
