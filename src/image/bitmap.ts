/** The pixels of an `ImageBitmap`. A canvas keeps them premultiplied, so transparent ones are read through WebGL, which does not. */

/** Pixels on a side that are read at a time: within what canvases and textures hold everywhere. */
const TILE = 2048;

/** RGBA from the top left, not premultiplied where the bitmap is not and WebGL is there. */
export function bitmapPixels(bitmap: ImageBitmap): Uint8ClampedArray<ArrayBuffer> {
  const data = throughCanvas(bitmap);
  for (let i = 3; i < data.length; i += 4) if (data[i] !== 255) return throughWebGl(bitmap, data);
  return data;
}

interface Tile {
  x: number;
  y: number;
  width: number;
  height: number;
}

function* tilesOf({ width, height }: ImageBitmap): Generator<Tile> {
  for (let y = 0; y < height; y += TILE)
    for (let x = 0; x < width; x += TILE)
      yield { x, y, width: Math.min(TILE, width - x), height: Math.min(TILE, height - y) };
}

function place(from: ArrayLike<number> & Iterable<number>, tile: Tile, to: Uint8ClampedArray, width: number): void {
  const bytes = from as Uint8Array;
  for (let j = 0; j < tile.height; j++)
    to.set(bytes.subarray(4 * j * tile.width, 4 * (j + 1) * tile.width), 4 * ((tile.y + j) * width + tile.x));
}

function throughCanvas(bitmap: ImageBitmap): Uint8ClampedArray<ArrayBuffer> {
  const data = new Uint8ClampedArray(4 * bitmap.width * bitmap.height);
  for (const tile of tilesOf(bitmap)) {
    const canvas = new OffscreenCanvas(tile.width, tile.height);
    const context = canvas.getContext("2d", { willReadFrequently: true }) as OffscreenCanvasRenderingContext2D;
    context.drawImage(bitmap, -tile.x, -tile.y);
    place(context.getImageData(0, 0, tile.width, tile.height).data, tile, data, bitmap.width);
  }
  return data;
}

/** Writes over what the canvas gave; leaves it where there is no WebGL 2. */
function throughWebGl(bitmap: ImageBitmap, data: Uint8ClampedArray<ArrayBuffer>): Uint8ClampedArray<ArrayBuffer> {
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2");
  if (!gl) return data;
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.pixelStorei(gl.UNPACK_ROW_LENGTH, bitmap.width);
  for (const tile of tilesOf(bitmap)) {
    const { x, y, width, height } = tile;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.pixelStorei(gl.UNPACK_SKIP_PIXELS, x);
    gl.pixelStorei(gl.UNPACK_SKIP_ROWS, y);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    if (gl.getError() !== gl.NO_ERROR) break;
    place(pixels, tile, data, bitmap.width);
    gl.deleteTexture(texture);
  }
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return data;
}
