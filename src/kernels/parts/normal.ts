/**
 * Normal numbers by counter: the WGSL half of docs/rng.md. Logarithm, sine and cosine are polynomials of our own, because
 * WGSL promises its built-ins too little (sin and cos only to 2^-11) for images to agree between adapters; the
 * coefficients are those of Moshier's Cephes library (logf, sinf, cosf).
 */

/** `normal4(counter, key) -> vec4f`: channels 4·block .. 4·block+3 of one pixel; counter = (pixel, block, step, image). */
export const NORMAL_FUNCTIONS = `
fn multiply_high(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu; let a1 = a >> 16u;
  let b0 = b & 0xffffu; let b1 = b >> 16u;
  let middle = a1 * b0 + ((a0 * b0) >> 16u);
  return a1 * b1 + (middle >> 16u) + ((a0 * b1 + (middle & 0xffffu)) >> 16u);
}
fn philox(counter: vec4u, key: vec2u) -> vec4u {
  var c = counter;
  var k = key;
  for (var i = 0u; i < 10u; i++) {
    let high_a = multiply_high(0xd2511f53u, c.x);
    let high_b = multiply_high(0xcd9e8d57u, c.z);
    c = vec4u(high_b ^ c.y ^ k.x, 0xcd9e8d57u * c.z, high_a ^ c.w ^ k.y, 0xd2511f53u * c.x);
    k += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
fn unit(word: u32) -> f32 { return f32((word >> 8u) | 1u) * 5.9604644775390625e-8; }
fn natural_log(u: f32) -> f32 {
  let bits = bitcast<u32>(u);
  var e = f32(i32(bits >> 23u) - 126);
  var m = bitcast<f32>((bits & 0x7fffffu) | 0x3f000000u);
  if (m < 0.70710678) { e -= 1.0; m = m + m; }
  let x = m - 1.0;
  let z = x * x;
  var p = 7.0376836292e-2;
  p = p * x - 1.1514610310e-1;
  p = p * x + 1.1676998740e-1;
  p = p * x - 1.2420140846e-1;
  p = p * x + 1.4249322787e-1;
  p = p * x - 1.6668057665e-1;
  p = p * x + 2.0000714765e-1;
  p = p * x - 2.4999993993e-1;
  p = p * x + 3.3333331174e-1;
  let y = p * x * z - e * 2.12194440e-4 - 0.5 * z;
  return x + y + e * 0.693359375;
}
fn box_muller(u: u32, v: u32) -> vec2f {
  let radius = sqrt(-2.0 * natural_log(unit(u)));
  let turns = unit(v) * 4.0;
  let quarter = floor(turns + 0.5);
  let x = (turns - quarter) * 1.5707963267948966;
  let z = x * x;
  let s = x + x * z * ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1);
  let c = 1.0 - 0.5 * z + z * z * ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2);
  let q = u32(quarter) & 3u;
  let direction = select(vec2f(c, s), vec2f(-s, c), (q & 1u) == 1u);
  return radius * select(direction, -direction, q >= 2u);
}
fn normal4(counter: vec4u, key: vec2u) -> vec4f {
  let u = philox(counter, key);
  return vec4f(box_muller(u.x, u.y), box_muller(u.z, u.w));
}`;

/** Statement that zeroes the components of `name` beyond the last of C channels in group c4. */
export const maskChannels = (name: string, c4: string): string =>
  `${name} = select(vec4f(), ${name}, vec4u(0u, 1u, 2u, 3u) + ${c4} * 4u < vec4u(C));`;
