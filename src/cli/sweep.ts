/** `ddim sample --sweep`: one picture of one x_T under several etas and numbers of steps. */
import { grid } from "../image/grid.ts";
import { encodePng } from "../image/png.ts";
import { defaultScale, enlarge, type RgbaImage } from "../image/rgba.ts";
import { captioned } from "../image/text.ts";
import { openModel } from "../node/model.ts";
import type { Model } from "../pipeline/model.ts";
import { resolveRun } from "../pipeline/run.ts";
import type { GenerateOptions } from "../pipeline/types.ts";
import { UsageError } from "../runtime/errors.ts";
import { parseClasses } from "./classFlag.ts";
import { samplerOptions } from "./flags.ts";
import { type Io, Terminal } from "./io.ts";
import { modelSource } from "./modelFlag.ts";
import { checkFile, writeFile } from "./output.ts";
import type { SampleFlags } from "./sampleFlags.ts";
import { withPipeline } from "./session.ts";

const listOf = (value: number | readonly number[] | undefined, initial: number): readonly number[] =>
  value === undefined ? [initial] : typeof value === "number" ? [value] : value;

/** Rows are etas, columns numbers of steps; checked before a device is opened. */
function runsOf(flags: SampleFlags, model: Model, signal: AbortSignal): GenerateOptions[][] {
  const shared: GenerateOptions = {
    ...samplerOptions({ ...flags, steps: undefined, eta: undefined }),
    classes: flags.class === undefined ? undefined : parseClasses(flags.class, model.labels),
    guidance: flags.guidance,
    rng: flags.rng,
    seed: flags.seed ?? resolveRun(model, {}).seed,
    signal,
  };
  const rows = listOf(flags.eta, 0).map((eta) => listOf(flags.steps, 50).map((steps) => ({ ...shared, eta, steps })));
  for (const options of rows.flat()) resolveRun(model, options);
  return rows;
}

export async function sweep(flags: SampleFlags, io: Io): Promise<void> {
  if (!/\.png$/i.test(flags.output)) throw new UsageError("output", "--sweep makes one picture: -o has to end in .png");
  if ((flags.count ?? 1) !== 1) throw new UsageError("count", "--sweep shows one image: leave -n out");
  const terminal = new Terminal(io, flags);
  const model = await openModel(modelSource(flags.model), { signal: io.signal });
  const rows = runsOf(flags, model, io.signal);
  checkFile(flags.output, flags.overwrite === true);
  await withPipeline(terminal, flags, model, async ({ pipeline, progress }) => {
    const cells: RgbaImage[] = [];
    const total = rows.flat().reduce((sum, { steps = 0 }) => sum + steps, 0);
    let done = 0;
    for (const options of rows.flat()) {
      const onStep = () => progress.show("sampling", ++done, total);
      const { images } = await pipeline.generate({ ...options, onStep });
      const image = images[0] as RgbaImage;
      const large = enlarge(image, flags.scale ?? defaultScale(image.width));
      cells.push(captioned(large, `eta=${options.eta} S=${options.steps}`));
    }
    progress.stop();
    io.signal.throwIfAborted();
    const seed = rows[0]?.[0]?.seed;
    const command = `ddim sample --sweep --eta ${flags.eta ?? 0} -S ${flags.steps ?? 50} --seed ${seed}`;
    writeFile(flags.output, await encodePng(grid(cells, rows[0]?.length ?? 1, { gap: 8 }), { command }));
    terminal.say(`seed ${seed}, ${rows.length} x ${rows[0]?.length} runs from one x_T`);
    if (flags.json) terminal.json({ seed, images: [flags.output], etas: flags.eta, steps: flags.steps });
  });
}
