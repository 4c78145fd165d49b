/**
 * Two samplers of k-diffusion (Karras et al. 2022) as update rules. A rule says, row by row, what follows an evaluation of
 * the network; the numbers are computed here once, the GPU does the rest.
 *
 * k-diffusion's state is y = x0 + σ ε; the sampler's is x = √ᾱ y with σ = √((1 - ᾱ)/ᾱ). Both rules are written for y and
 * multiplied by √ᾱ of the level that a step leads to.
 */

/**
 * @typedef {{ t: number, alphaCumprod: number, alphaCumprodPrev: number }} Step
 * @typedef {{ steps: readonly Step[] }} Schedule
 * @typedef {{ k2?: number, k3?: number, sigma?: number, value?: number[], weights?: number[] }} Sum
 * @typedef {{ base?: number, push?: boolean, save?: boolean }} Memory
 * @typedef {{ step: number, t?: number, update: Sum & Memory }} Row
 */

/** @param {number} alphaCumprod */
const sigmaOf = (alphaCumprod) => Math.sqrt((1 - alphaCumprod) / alphaCumprod);

/**
 * `sample_euler_ancestral`: a step of Euler's to less noise than the next level has, and new noise on top.
 *
 *   y ← x0 + (y - x0) σ_down/σ + σ_up z
 *
 * @param {{ eta?: number }} [options] how much of the noise is new, 0 to 1
 */
export const eulerAncestral =
  ({ eta = 1 } = {}) =>
  /** @param {Schedule} schedule @returns {Row[]} */
  ({ steps }) =>
    steps.map(({ alphaCumprod, alphaCumprodPrev }, step) => {
      const [from, to] = [sigmaOf(alphaCumprod), sigmaOf(alphaCumprodPrev)];
      const up = Math.min(to, eta * Math.sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2));
      const down = Math.sqrt(to ** 2 - up ** 2);
      const scale = Math.sqrt(alphaCumprodPrev);
      return {
        step,
        update: {
          k2: scale * (1 - down / from),
          k3: ((scale / Math.sqrt(alphaCumprod)) * down) / from,
          sigma: scale * up,
        },
      };
    });

/**
 * `sample_heun` without churn: Euler's step, and the same again with the mean of the slopes at both ends; Euler's alone in
 * the last step, which leads to σ = 0. Two evaluations for every step but that.
 *
 *   d = (y - x0)/σ;   y' = y + d (σ' - σ);   d' = (y' - x0')/σ';   y ← y + (d + d')/2 (σ' - σ)
 *
 * The first row keeps d as v_1 and its x as the base; d' is v_0 of the second.
 *
 * @param {Schedule} schedule
 * @returns {Row[]}
 */
export const heun = ({ steps }) =>
  steps.flatMap(({ alphaCumprod, alphaCumprodPrev }, step) => {
    const [from, to] = [sigmaOf(alphaCumprod), sigmaOf(alphaCumprodPrev)];
    const scale = Math.sqrt(alphaCumprodPrev);
    const kept = scale / Math.sqrt(alphaCumprod);
    const gain = scale * (to - from);
    const next = steps[step + 1];
    /** @type {Row} */
    const first = { step, update: { k3: kept, value: slope(alphaCumprod), weights: [gain] } };
    if (to === 0 || !next) return [first];
    /** @type {Row} */
    const second = {
      step,
      t: next.t,
      update: { base: kept, value: slope(alphaCumprodPrev), weights: [gain / 2, gain / 2] },
    };
    return [{ ...first, update: { ...first.update, push: true, save: true } }, second];
  });

/**
 * d = (y - x0)/σ of (x, m, x0).
 * @param {number} alphaCumprod
 */
const slope = (alphaCumprod) => [1 / Math.sqrt(1 - alphaCumprod), 0, -1 / sigmaOf(alphaCumprod)];
