/** Least squares, for what the report says about growth. */

export interface LinearFit {
  /** y at x = 0. */
  readonly offset: number;
  readonly slope: number;
  /** Share of the variance that the line explains, 0..1. */
  readonly r2: number;
}

/** y = offset + slope x. @param points - at least two different x */
export function fitLine(points: readonly (readonly [x: number, y: number])[]): LinearFit {
  const mean = (values: number[]) => values.reduce((sum, v) => sum + v, 0) / values.length;
  const mx = mean(points.map(([x]) => x));
  const my = mean(points.map(([, y]) => y));
  let sxx = 0;
  let sxy = 0;
  let syy = 0;
  for (const [x, y] of points) {
    sxx += (x - mx) ** 2;
    sxy += (x - mx) * (y - my);
    syy += (y - my) ** 2;
  }
  const slope = sxy / sxx;
  // A constant is explained in full by a line without slope.
  return { offset: my - slope * mx, slope, r2: syy === 0 ? 1 : sxy ** 2 / (sxx * syy) };
}

export interface PowerFit {
  /** y grows as x to this power. */
  readonly exponent: number;
  /** Of the line through the logarithms. */
  readonly r2: number;
}

/** y = c x^exponent. @param points - all above 0, at least two different x */
export function fitPower(points: readonly (readonly [x: number, y: number])[]): PowerFit {
  const { slope, r2 } = fitLine(points.map(([x, y]) => [Math.log(x), Math.log(y)]));
  return { exponent: slope, r2 };
}
