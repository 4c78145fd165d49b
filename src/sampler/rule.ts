/** Update rules from outside: rows that somebody else has computed, checked and made a plan of. */
import { type Update, updateRecord } from "../kernels/sampling/records.ts";
import { UsageError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { cleanPart, type Plan, type PlanOptions, type PlanRow, planOf } from "./plan.ts";
import type { Schedule } from "./scheduleTypes.ts";

/**
 * One evaluation of the network, and the update that follows it. Where `t` is a timestep of the schedule, `tNetwork`,
 * `alphaCumprod` and the update's `k0`, `k1` and `clip` are the schedule's unless they are given, and `guided` is what
 * `guidanceInterval` says. Where v_1 lies the rows say by what they keep.
 */
export interface RuleRow extends Partial<Pick<PlanRow, "t" | "tNetwork" | "alphaCumprod" | "jump">> {
  /** Number of the schedule's step that the row belongs to; `t` is its timestep unless it is given. */
  readonly step: number;
  readonly update: Omit<Update, "cursor">;
}

/** Called once for a run, with its schedule (of sampler ddim, by the run's other options). */
export type UpdateRule = (schedule: Schedule, options: PlanOptions) => readonly RuleRow[];

const rowNames: OptionNames<RuleRow> = {
  step: "a number",
  t: "a number",
  tNetwork: "a number",
  alphaCumprod: "a number",
  jump: "an object",
  update: "an object",
};
const jumpNames: OptionNames<NonNullable<RuleRow["jump"]>> = { keep: "a number", noise: "a number" };
const KINDS = { f32: "a number", u32: "a number", flag: "true or false", vec3f: "a list of numbers" } as const;
const updateNames = Object.fromEntries(
  Object.entries(updateRecord.fields)
    .filter(([name]) => name !== "cursor")
    .map(([name, [type]]) => [name, type === "vec4f" ? KINDS.vec3f : KINDS[type]]),
) as OptionNames<RuleRow["update"]>;

const wrong = (row: number, problem: string) => new UsageError("sampler", `sampler: row ${row} ${problem}`);

/** Numbers that f32 holds, as many as there may be. */
function checkNumbers(row: number, of: object): void {
  for (const [name, value] of Object.entries(of))
    for (const v of [value].flat())
      if (typeof v === "number" && !Number.isFinite(Math.fround(v))) throw wrong(row, `has ${name} ${v}`);
}

function checkRow(row: number, given: RuleRow, { steps }: Schedule): void {
  const where = `sampler: row ${row}`;
  checkOptions(where, given, rowNames);
  if (!(Number.isInteger(given.step) && given.step >= 0 && given.step < steps.length))
    throw wrong(row, `is of step ${given.step}, but the schedule has steps 0 to ${steps.length - 1}`);
  checkOptions(`${where}: update`, given.update ?? null, updateNames);
  if (given.jump) checkOptions(`${where}: jump`, given.jump, jumpNames);
  const { value = [0, 0, 0], weights = [], sigma = 0 } = given.update;
  if (value.length !== 3 || weights.length > 4)
    throw wrong(row, `has ${value.length} numbers in value and ${weights.length} in weights: 3 and at most 4 are read`);
  if (sigma < 0) throw wrong(row, `has sigma ${sigma}, which is below 0`);
  for (const part of [given, given.update, given.jump ?? {}]) checkNumbers(row, part);
}

/** The row with what it leaves to the schedule. */
function whole(row: number, given: RuleRow, schedule: Schedule, { interval }: PlanOptions): PlanRow {
  const { step, jump } = given;
  const t = given.t ?? (schedule.steps[step]?.t as number);
  const at = schedule.steps.find((s) => s.t === t);
  const [low, high] = interval ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  const guided = t >= low && t <= high;
  const { k0, k1 } = given.update;
  const [tNetwork, alphaCumprod] = [given.tNetwork ?? at?.tNetwork, given.alphaCumprod ?? at?.alphaCumprod];
  if (tNetwork === undefined || alphaCumprod === undefined || (!at && (k0 === undefined || k1 === undefined)))
    throw wrong(
      row,
      `is at t = ${t}, no timestep of the schedule: give tNetwork, alphaCumprod and the update's k0, k1`,
    );
  if (!(alphaCumprod >= 0 && alphaCumprod <= 1)) throw wrong(row, `has alphaCumprod ${alphaCumprod}, not from 0 to 1`);
  const update = { ...(at ? cleanPart(at.coefficients) : { clip: schedule.clip ?? 0 }), guided, ...given.update };
  return { step, t, tNetwork, alphaCumprod, jump, update };
}

const uses = (update: Update, k: number) => (update.weights?.[k] ?? 0) !== 0;

/** Whether something of one row is there in later ones. */
const remembers = ({ update: u }: PlanRow): boolean =>
  Boolean(u.base || u.push || u.save || u.weights?.some((w) => w !== 0));

/** Says where past values lie. @throws UsageError for one that is not there */
function remembering(rows: readonly PlanRow[], { threshold }: Schedule): Plan {
  const ring = rows.some(({ update }) => update.push)
    ? Math.max(1, ...[1, 2, 3].filter((k) => rows.some(({ update }) => uses(update, k))))
    : 0;
  let [kept, saved] = [0, false];
  const placed = rows.map((row, i): PlanRow => {
    const { k2 = 0, k4 = 0, ...update } = row.update;
    const missing = [1, 2, 3].find((k) => k > kept && uses(update, k));
    if (missing) throw wrong(i, `reads v_${missing}, but ${kept} values are kept before it (push)`);
    if (update.base && !saved) throw wrong(i, "reads the base, but no x is kept before it (save)");
    const plain = k2 !== 0 || k4 !== 0;
    if (plain && (update.value || update.weights))
      throw wrong(i, "has k2 or k4 beside value and weights: say it by these alone");
    const cursor = ring > 0 ? (kept + ring - 1) % ring : 0;
    if (update.push) kept++;
    saved ||= update.save === true;
    return { ...row, update: { ...update, ...(plain ? { value: [0, k4, k2], weights: [1] } : {}), cursor } };
  });
  return planOf(placed, threshold, { ring, base: rows.some(({ update }) => update.save) });
}

/**
 * The plan of a rule's rows.
 * @throws UsageError naming the row that cannot be done
 */
export function planRule(rule: UpdateRule, schedule: Schedule, options: PlanOptions = {}): Plan {
  if (options.repaint)
    throw new UsageError("repaint", "repaint is ddim's and ddpm's; a rule of your own says its jumps itself");
  const given = rule(schedule, options);
  if (!Array.isArray(given) || given.length === 0)
    throw new UsageError("sampler", "sampler: the rule must return a list of rows, one per evaluation of the network");
  const rows = given.map((row: RuleRow, i) => {
    checkRow(i, row, schedule);
    const same = i > 0 && row.step === (given[i - 1] as RuleRow).step && !row.jump;
    return { ...whole(i, row, schedule, options), within: same };
  });
  return rows.some(remembers) ? remembering(rows, schedule) : planOf(rows, schedule.threshold);
}
