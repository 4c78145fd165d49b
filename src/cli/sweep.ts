/** `ddim sample --sweep`: one picture of one x_T under several classes, etas, guidance scales and numbers of steps. */
import { grid } from "../image/grid.ts";
import { encodePng } from "../image/png.ts";
import { enlarge, type RgbaImage } from "../image/rgba.ts";
import { captioned } from "../image/text.ts";
import type { Model } from "../pipeline/model.ts";
import { type ResolvedRun, resolveRun } from "../pipeline/run.ts";
import type { GenerateOptions, Generation } from "../pipeline/types.ts";
import { UsageError } from "../runtime/errors.ts";
import { madeText, scaleOf } from "./imageOutput.ts";
import { type Io, Terminal } from "./io.ts";
import { openFlaggedModel } from "./modelFlag.ts";
import { checkFile, writeFile } from "./output.ts";
import { commandLine, parametersOf, recordedTexts, runFacts } from "./provenance.ts";
import type { SampleFlags } from "./sampleFlags.ts";
import { generateOptions } from "./sampleOptions.ts";
import { withPipeline } from "./session.ts";
import { table } from "./table.ts";

/**
 * What may differ from picture to picture, as captions and tables call it. A later one changes faster, and the last that
 * has several values makes the columns.
 */
const names = { class: "c", eta: "eta", guidance: "w", steps: "S" } as const;
type Axis = keyof typeof names;
const axes = Object.keys(names) as Axis[];
/** No class is the model's own choice. */
type Choice = Readonly<Record<Exclude<Axis, "class">, number>> & { readonly class?: number };

/** One run of a sweep. */
interface Run {
  readonly choice: Choice;
  readonly options: GenerateOptions;
  readonly run: ResolvedRun;
}

/** Flags without a meaning for many runs of one image. */
const refused = {
  saveState: "--save-state",
  resume: "--resume",
  saveSteps: "--save-steps",
  trace: "--trace",
  grid: "--grid",
  antithetic: "--antithetic",
  timesteps: "--timesteps",
} as const;

function checkFlags(flags: SampleFlags): void {
  if (!/\.png$/i.test(flags.output)) throw new UsageError("output", "--sweep makes one picture: -o has to end in .png");
  if ((flags.count ?? 1) !== 1) throw new UsageError("count", "--sweep shows one image: leave -n out");
  for (const [name, flag] of Object.entries(refused))
    if (flags[name as keyof typeof refused] !== undefined)
      throw new UsageError(name, `--sweep does not go together with ${flag}`);
}

const listOf = (value: number | readonly number[]): readonly number[] => (typeof value === "number" ? [value] : value);

/** Every combination, the last axis changing fastest. */
const choicesOf = (values: Readonly<Record<Axis, readonly (number | undefined)[]>>): Choice[] =>
  axes.reduce<Partial<Choice>[]>(
    (choices, axis) => choices.flatMap((choice) => values[axis].map((value) => ({ ...choice, [axis]: value }))),
    [{}],
  ) as Choice[];

/** All that flags say, checked; no device is open yet. */
async function planSweep(flags: SampleFlags, model: Model, terminal: Terminal) {
  const asked = await generateOptions({ ...flags, steps: undefined, eta: undefined, guidance: 1 }, { model, terminal });
  const { classes, ...shared } = { ...asked, seed: resolveRun(model, asked).seed };
  const values = {
    class: classes ?? [undefined],
    eta: listOf(flags.eta ?? 0),
    guidance: listOf(flags.guidance),
    steps: listOf(flags.steps ?? 50),
  };
  const swept = axes.filter((axis) => values[axis].length > 1);
  const runs = choicesOf(values).map((choice): Run => {
    const { class: id, ...own } = choice;
    const options = { ...shared, ...own, classes: id === undefined ? undefined : [id] };
    const run = resolveRun(model, options);
    if (run.count !== 1) throw new UsageError("noise", `--sweep shows one image, the noise holds ${run.count}`);
    return { choice, options, run };
  });
  return { classes, seed: shared.seed, swept, columns: values[swept.at(-1) ?? "steps"].length, runs };
}

export async function sweep(flags: SampleFlags, io: Io): Promise<void> {
  checkFlags(flags);
  const terminal = new Terminal(io, flags);
  const model = await openFlaggedModel(terminal, flags);
  const { classes, seed, swept, columns, runs } = await planSweep(flags, model, terminal);
  checkFile(flags.output, flags.overwrite === true);
  terminal.warn([...new Set(runs.flatMap(({ run }) => run.warnings))]);
  await withPipeline(terminal, flags, { model }, async (session) => {
    const { pipeline, progress } = session;
    const made: Generation[] = [];
    const total = runs.reduce((sum, { run }) => sum + run.plan.rows.length, 0);
    let done = 0;
    progress.show("sampling", done, total);
    for (const { options } of runs)
      made.push(await pipeline.generate({ ...options, onStep: () => progress.show("sampling", ++done, total) }));
    progress.stop();
    io.signal.throwIfAborted();
    const cells = made.map(({ images }, i) => {
      const image = images[0] as RgbaImage;
      const caption = swept.map((axis) => `${names[axis]}=${runs[i]!.choice[axis]}`).join(" ");
      return captioned(enlarge(image, scaleOf({ form: "picture" }, flags.scale, image)), caption);
    });
    const { run } = runs[0] as Run;
    const state = { width: run.width, height: run.height, contextLength: run.contexts?.length };
    const facts = await runFacts(session, flags, state, io.signal);
    const parameters = { ...parametersOf(flags, run, facts), ...compared(flags, classes) };
    const command = commandLine(flags, run, { classes, dtype: pipeline.network.dtype });
    const texts = recordedTexts({ ...parameters, command });
    writeFile(flags.output, await encodePng(grid(cells, columns, { gap: 8 }), texts));
    terminal.done(madeText([flags.output], runs.length, run.picture));
    terminal.say(`seed ${seed}, ${runs.length / columns} x ${columns} runs from one x_T`);
    const distance = swept.includes("steps") ? distances(made, columns) : undefined;
    if (flags.json) {
      const results = runs.map(({ choice }, i) => ({ ...choice, distance: distance?.[i] }));
      return terminal.json({ seed, images: [flags.output], runs: results });
    }
    if (!distance) return;
    const measured = runs.map(({ choice }, i) => [...swept.map((axis) => choice[axis]!), distance[i]!.toFixed(4)]);
    terminal.data(table([...swept.map((axis) => names[axis]), "distance to the last of the row"], measured));
  });
}

/** What the picture's runs had, in place of what the first of them had. */
const compared = ({ steps, eta }: SampleFlags, classes: readonly number[] | undefined) => ({
  ...(steps === undefined ? {} : { steps }),
  ...(eta === undefined ? {} : { eta }),
  ...(classes ? { classes } : {}),
});

/** Root mean square difference, in −1..1, of every image from the last of its line. */
function distances(made: readonly Generation[], columns: number): number[] {
  return made.map(({ samples: { data } }, i) => {
    const last = made[i - (i % columns) + columns - 1]!.samples.data;
    return Math.sqrt(data.reduce((sum, v, j) => sum + (v - last[j]!) ** 2, 0) / data.length);
  });
}
