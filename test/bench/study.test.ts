/** The study of bench/study: its statistics against closed forms, its plan, and the tables that docs/study.md shows. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Matrix } from "ml-matrix";
import { describe, expect, test } from "vitest";
import {
  ALL_STEPS,
  type Cell,
  cells,
  classesInProportion,
  ETAS,
  type Job,
  jobs,
  SPACINGS,
} from "../../bench/study/cells.mjs";
import { fileOf, fromBytes, toBytes } from "../../bench/study/files.mjs";
import { readMoments, writeMoments } from "../../bench/study/moments.mjs";
import { measure, tables, wholeBlocks } from "../../bench/study/results.mjs";
import {
  distance,
  diversity,
  frechetDistance,
  gaussianOf,
  principal,
  spread,
  variance,
} from "../../bench/study/statistics.mjs";
import { makeSchedule } from "../../src/sampler/schedule.ts";
import { scratchFolder } from "../support/cli.ts";

const gaussian = (mean: number[], factor: number[][]) => ({ mean, factor: new Matrix(factor) });

describe("Fréchet distance", () => {
  test("of two normal distributions on a line is (μ₁ - μ₂)² + (σ₁ - σ₂)²", () => {
    expect(frechetDistance(gaussian([1], [[2]]), gaussian([4], [[0.5]]))).toBeCloseTo(9 + 2.25, 12);
  });

  test("of two dimensions that do not commute: tr √(Σ₁Σ₂) = √(tr Σ₁Σ₂ + 2 √det Σ₁Σ₂)", () => {
    const a = gaussian(
      [0, 1],
      [
        [1, 2],
        [0, 1],
      ],
    );
    const b = gaussian(
      [1, 1],
      [
        [3, -1],
        [1, 1],
      ],
    );
    const [s, t] = [a, b].map(({ factor }) => factor.transpose().mmul(factor)) as [Matrix, Matrix];
    const det = (m: Matrix) => m.get(0, 0) * m.get(1, 1) - m.get(0, 1) * m.get(1, 0);
    const root = Math.sqrt(s.mmul(t).trace() + 2 * Math.sqrt(det(s) * det(t)));
    expect(frechetDistance(a, b)).toBeCloseTo(1 + s.trace() + t.trace() - 2 * root, 10);
    expect(frechetDistance(b, a)).toBeCloseTo(frechetDistance(a, b), 10);
  });

  test("where one is flat: a line against a round one, tr √(Σ₁Σ₂) is the line's length", () => {
    const line = gaussian([0, 0, 0], [[1, 2, 2]]);
    const round = gaussian(
      [0, 0, 0],
      [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
      ],
    );
    expect(frechetDistance(line, round)).toBeCloseTo(9 + 3 - 2 * 3, 12);
    expect(frechetDistance(line, line)).toBeCloseTo(0, 12);
  });
});

test("mean, covariance and principal components of some images", () => {
  const images = [
    [1, 0, 2],
    [3, 1, 2],
    [2, 5, 2],
    [6, 2, 3],
  ];
  const all = gaussianOf(images);
  expect([...(all.mean as Float64Array)]).toEqual([3, 2, 2.25]);
  const covariance = all.factor.transpose().mmul(all.factor);
  expect(covariance.get(0, 0)).toBeCloseTo((4 + 0 + 1 + 9) / 3, 12);
  expect(covariance.get(0, 1)).toBeCloseTo((4 + 0 - 3 + 0) / 3, 12);
  const rotated = principal(all, 3).factor;
  expect(Matrix.sub(rotated.transpose().mmul(rotated), covariance).norm()).toBeLessThan(1e-12);
  const [one, two, three] = [1, 2, 3].map((rank) => variance(principal(all, rank))) as [number, number, number];
  expect(one).toBeLessThan(two);
  expect(one / three).toBeGreaterThan(1 / 3);
});

test("distances are root mean squares, diversity their mean over pairs of seeds", () => {
  expect(distance([0, 0, 0, 0], [1, -1, 1, 3])).toBeCloseTo(Math.sqrt(3), 12);
  expect(spread([[0], [1], [5]])).toBeCloseTo((1 + 5 + 4) / 3, 12);
  const sets = [
    [[0], [0]],
    [[1], [0]],
    [[3], [6]],
  ];
  expect(diversity(sets)).toBeCloseTo((1 + 0 + 3 + 6 + 2 + 6) / 6, 12);
});

test("every cell's timesteps run from T - 1 to 0, and differ in where they are dense", () => {
  expect(cells()).toHaveLength(ETAS.length * 13);
  const list = (spacing: keyof typeof SPACINGS, steps: number) =>
    makeSchedule({ steps, spacing: SPACINGS[spacing] }).steps.map(({ t }) => t);
  for (const steps of [10, 25, 50, 100]) {
    const [uniform, high, low] = [
      list("uniform", steps),
      list("dense at high t", steps),
      list("dense at low t", steps),
    ];
    for (const own of [uniform, high, low]) expect([own[0], own.at(-1)]).toEqual([999, 0]);
    const above = (own: number[]) => own.filter((t) => t > 499.5).length / steps;
    expect(above(uniform)).toBe(steps % 2 ? 0.52 : 0.5);
    expect(above(high)).toBeGreaterThan(0.65);
    expect(above(low)).toBeLessThan(0.35);
  }
  const all = Object.keys(SPACINGS).map((spacing) => list(spacing as keyof typeof SPACINGS, ALL_STEPS));
  expect(new Set(all.map(String)).size).toBe(1);
});

test("jobs: every batch once, other step seeds only where there is noise", () => {
  const every = jobs(2, 3);
  expect(new Set(every.map(fileOf)).size).toBe(every.length);
  expect(every).toHaveLength(2 * 78 + 2 * 65);
  expect(every.some(({ eta, seed }) => eta === 0 && seed > 0)).toBe(false);
  // What is there when it is stopped early is whole: the first block, then cheap seeds, then the next block.
  const place = (of: Partial<Job>) =>
    every.flatMap((job, i) => (Object.entries(of).every(([key, v]) => job[key as keyof Job] === v) ? [i] : []));
  expect(Math.max(...place({ block: 0, seed: 0 }))).toBeLessThan(Math.min(...place({ seed: 1 })));
  expect(Math.max(...place({ seed: 2, steps: 100 }))).toBeLessThan(Math.min(...place({ block: 1 })));
  expect(Math.max(...place({ block: 1 }))).toBeLessThan(Math.min(...place({ seed: 1, steps: ALL_STEPS })));
});

test("classes in proportion, as even as they can be at every length", () => {
  const classes = classesInProportion([0.42, 0.23, 0.23, 0.12], 64);
  const counts = (n: number) => [0, 1, 2, 3].map((k) => classes.slice(0, n).filter((c) => c === k).length);
  expect(counts(64)).toEqual([27, 15, 14, 8]);
  expect(counts(16)).toEqual([7, 4, 3, 2]);
});

test("images keep their bytes", () => {
  expect([...toBytes(Float32Array.of(-2, -1, 0.1, 1, 3))]).toEqual([0, 0, 140, 255, 255]);
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  const images = fromBytes(bytes, 64);
  expect(images).toHaveLength(4);
  expect([...toBytes(Float32Array.from(images.flatMap((image) => [...image])))]).toEqual([...bytes]);
});

test("a cell's measures, from images that are as different as their cells say", () => {
  // Image i of a cell is i ± eta / 10 by seed, moved by 1 / steps.
  const imagesOf = ({ eta, steps }: Cell, block: number, seed: number) =>
    block < 2 && seed < 3
      ? [0, 1].map((i) => Float64Array.of(2 * block + i + (seed * eta) / 10 + 1 / steps, 0))
      : undefined;
  expect(wholeBlocks(imagesOf)).toBe(2);
  const training = gaussianOf([
    [0, 0],
    [1, 0],
    [2, 0],
    [3, 0],
  ]);
  const cell = (eta: number, steps: number) =>
    measure({ eta, steps, spacing: steps === ALL_STEPS ? "all" : "uniform" }, imagesOf, 2, training);
  expect(cell(0, 10)).toMatchObject({ diversity: 0, frechet: expect.closeTo(0.01, 6) });
  expect(cell(0.8, 10).diversity).toBeCloseTo((0.08 + 0.08 + 0.16) / 3 / Math.SQRT2, 12);
  expect(cell(0.8, 10).change).toBeCloseTo((0.1 - 0.001) / Math.SQRT2, 12);
  expect(cell(0.8, ALL_STEPS).change).toBe(0);
  const half = measure({ eta: 0, steps: 10, spacing: "uniform" }, imagesOf, 1, training);
  expect(half.variance).toBeCloseTo(0.5 / (5 / 3), 12);
});

test("the file of moments keeps what it is given, components to eight bits", () => {
  const path = join(scratchFolder(), "moments.safetensors");
  const around = (mean: number) => ({ mean, deviation: 0.5 });
  const facts = {
    images: 3,
    classShares: [0.5, 0.5],
    halves: 1,
    floors: [{ images: 2, share: 1, frechet: around(3), variance: around(1) }],
  };
  writeMoments(
    path,
    gaussian(
      [0.5, -0.25, 1],
      [
        [1, 2, 3],
        [0.1, -0.2, 0.3],
      ],
    ),
    facts,
  );
  const read = readMoments(path);
  expect(read.facts).toEqual(facts);
  expect([...(read.gaussian.mean as Float64Array)]).toEqual([0.5, -0.25, 1]);
  read.gaussian.factor.to1DArray().forEach((v, i) => {
    const wanted = [1, 2, 3, 0.1, -0.2, 0.3][i]!;
    expect(Math.abs(v / wanted - 1)).toBeLessThan(2 ** -8);
  });
});

test("the committed moments are the training images' of the default model", () => {
  const { gaussian: own, facts } = readMoments("bench/study/pixel-avatars-16.safetensors");
  expect(own.mean).toHaveLength(3 * 16 * 16);
  expect(facts.images).toBe(24_000);
  expect(facts.classShares.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  expect(variance(own)).toBeCloseTo(150.8, 0);
});

test("docs/study.md shows the numbers of docs/study.json", () => {
  const page = readFileSync("docs/study.md", "utf8");
  const results = JSON.parse(readFileSync("docs/study.json", "utf8"));
  for (const table of Object.values(tables(results))) expect(page).toContain(table);
});
