/** Spherical interpolation of latents, in float64. */

import { ShapeError } from "../runtime/errors.ts";
import { checkKind } from "../runtime/options.ts";

/** Above this |cos θ| the two points count as parallel and are interpolated linearly. */
const parallel = 0.9995;

/**
 * sin((1 - u) θ)/sin θ · a + sin(u θ)/sin θ · b with θ the angle between a and b over the whole image (DDIM paper,
 * appendix D.5); linear where sin θ is nearly 0 or one of the points is the origin.
 *
 * @param a one image's latent, flat; call once per image, the angle is the image's own
 * @param u 0 gives a, 1 gives b
 */
export function slerp(a: ArrayLike<number>, b: ArrayLike<number>, u: number): Float64Array {
  for (const [name, vector] of Object.entries({ a, b })) checkKind("slerp", name, "numbers", vector);
  if (a.length !== b.length) throw new ShapeError("slerp", "b", `[${a.length}]`, [b.length]);
  const norm = Math.sqrt(dot(a, a) * dot(b, b));
  const cosine = norm > 0 ? Math.max(-1, Math.min(1, dot(a, b) / norm)) : 1;
  const angle = Math.acos(cosine);
  const linear = Math.abs(cosine) > parallel;
  const wa = linear ? 1 - u : Math.sin((1 - u) * angle) / Math.sin(angle);
  const wb = linear ? u : Math.sin(u * angle) / Math.sin(angle);
  return Float64Array.from(a, (v, i) => wa * v + wb * b[i]!);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
