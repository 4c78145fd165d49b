/** Work on any number of images, as many at a time as memory allows. */
import { isShort } from "./device.ts";

/**
 * Makes something of `n` images, at most so many at a time, and of half as many from where memory is short on.
 * @param make called again for the same images, but fewer, where it threw a DeviceError "out-of-memory" and there were several
 */
export async function* inBatches<T>(
  n: number,
  most: number,
  make: (first: number, images: number) => Promise<T>,
): AsyncGenerator<{ readonly first: number; readonly images: number; readonly made: T }> {
  for (let first = 0; first < n; ) {
    const images = Math.min(most, n - first);
    let made: T;
    try {
      made = await make(first, images);
    } catch (error) {
      if (images === 1 || !isShort(error)) throw error;
      most = Math.floor(images / 2);
      continue;
    }
    yield { first, images, made };
    first += images;
  }
}
