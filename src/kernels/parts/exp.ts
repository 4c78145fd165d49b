/**
 * e^v by a polynomial of our own: WGSL lets its built-in drift with the size of the argument, so that images would differ
 * between adapters. The coefficients are those of Moshier's Cephes library (expf). Arguments below -80 give e^-80.
 */
export const EXP_FUNCTION = `
fn natural_exp(v: vec4f) -> vec4f {
  let bounded = max(v, vec4f(-80.0));
  let n = floor(bounded * 1.44269504088896341 + 0.5);
  let x = bounded - n * 0.693359375 + n * 2.12194440e-4;
  var y = x * 1.9875691500e-4 + 1.3981999507e-3;
  y = y * x + 8.3334519073e-3;
  y = y * x + 4.1665795894e-2;
  y = y * x + 1.6666665459e-1;
  y = y * x + 5.0000001201e-1;
  y = y * x * x + x + 1.0;
  return y * bitcast<vec4f>(vec4u(vec4i(n) + 127) << vec4u(23u));
}`;
