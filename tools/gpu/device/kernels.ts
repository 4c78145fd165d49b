/**
 * The laboratory of `ddim bench kernels` at the shapes of published networks, each way of doing an operation checked against
 * the plainest kernel in f32: the f64 oracle would take minutes. GPU_CASES: only those whose name contains it.
 */
import process from "node:process";
import { runLab } from "../../../bench/kernels/lab.ts";
import { type NamedTarget, parseTarget } from "../../../bench/kernels/targets.ts";
import { measureLimits } from "../../../bench/limits.ts";
import { targetFor } from "../../../src/kernels/target.ts";
import { openNodeDevice } from "../../../src/node/device.ts";
import {
  type AttentionCase,
  type Conv2dCase,
  caseName,
  type GroupNormCase,
  type LinearCase,
} from "../../../test/cases.ts";
import { caseTables, type StoredDType } from "../../../test/support/problems.ts";
import { attempt, left, rehearsal, tell } from "./stage.ts";

type Case = readonly [op: string, shape: object];
const silu = { affine: true, act: "silu" } as const;
const conv = (n: number, h: number, c: number, o: number, k: 1 | 3 = 3, more: Partial<Conv2dCase> = {}): Case => [
  "conv2d",
  { n, h, w: h, c, o, k, pad: k === 3 ? [1, 1, 1, 1] : [0, 0, 0, 0], ...more } satisfies Conv2dCase,
];
const attention = (n: number, l: number, heads: number, d: number, lk?: number): Case => [
  "attention",
  { n, l, heads, d, lk } satisfies AttentionCase,
];
const norm = (h: number, c: number, groups: number): Case => [
  "groupNorm",
  { n: 1, h, w: h, c, groups, eps: 1e-5, act: "silu" } satisfies GroupNormCase,
];
const linear = (m: number, k: number, o: number): Case => ["linear", { m, k, o } satisfies LinearCase];

const CASES: readonly Case[] = rehearsal
  ? [conv(1, 8, 32, 32), norm(8, 32, 8)]
  : [
      ...[conv(1, 64, 320, 320, 3, silu), conv(1, 32, 640, 640, 3, silu), conv(1, 16, 1280, 1280, 3, silu)],
      ...[conv(1, 8, 1280, 1280, 3, silu), conv(1, 64, 320, 2560, 1), conv(1, 256, 128, 128, 3, silu)],
      ...[attention(1, 4096, 8, 40), attention(1, 1024, 8, 80), attention(1, 256, 8, 160), attention(1, 256, 1, 512)],
      ...[
        norm(64, 320, 32),
        norm(256, 128, 32),
        norm(8, 1280, 32),
        attention(1, 4096, 8, 40, 77),
        linear(64, 1280, 1280),
      ],
      ...[conv(4, 64, 320, 320, 3, silu), conv(1, 32, 128, 128, 3, silu), conv(16, 32, 128, 128, 3, silu)],
      ...[conv(1, 8, 256, 256, 3, silu), conv(1, 16, 32, 32, 3, silu), conv(16, 16, 32, 32, 3, silu)],
      ...[conv(1, 64, 320, 320, 1), conv(1, 64, 4, 320), conv(1, 64, 320, 4, 3, silu)],
      ...[conv(1, 64, 320, 320, 3, { stride: 2 }), conv(1, 32, 640, 640, 3, { upsample: true })],
    ];

const device = await openNodeDevice({ matrices: true });
const limits = await measureLimits(device);
const own = targetFor(device);
const reference = parseTarget("direct", device).target;
/** Without matrix units shows what they bring, shapes in a uniform whether those in the source matter. */
const targetsOf = (dtype: StoredDType): NamedTarget[] => [
  { name: "own", target: own },
  ...(own.matrix && dtype === "f16" ? [{ name: "tiled", target: { ...own, matrix: undefined } }] : []),
  ...["gpu", "uniform", ...(dtype === "f32" ? ["direct"] : [])].map((name) => parseTarget(name, device)),
];

for (const [op, shape] of CASES)
  for (const dtype of ["f16", "f32"] as const) {
    const name = `${caseName(op, shape)} ${dtype}`;
    if (!name.includes(process.env.GPU_CASES ?? "")) continue;
    await attempt({ case: name }, async () => {
      if (left() < 1000) throw new Error("not begun, time was up");
      const table = caseTables[op];
      if (!table) throw new Error("the laboratory has no such operation");
      const init = {
        table,
        shape,
        dtype,
        targets: targetsOf(dtype),
        limits,
        seconds: rehearsal ? 0.1 : 0.6,
        reference,
      };
      for (const it of await runLab(device, init))
        tell(
          { case: name, ...it },
          `${name} ${it.variant}: ${it.kernels.join(" + ")} ${it.correct ? "" : "WRONG "}NMSE ${it.nmse.toExponential(1)}, ` +
            `GPU ${it.gpuMs?.toFixed(4) ?? "-"} ms, ${it.ms?.min.toFixed(4) ?? "-"} by the host, ${it.gflops?.toFixed(0)} GFLOP/s`,
        );
    });
  }
process.exit();
