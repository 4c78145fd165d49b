/** What is changed between the steps of a batch. */
import { ShapeError, UsageError } from "../runtime/errors.ts";
import { nonFiniteIn } from "../runtime/finite.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { isGuided, type PlanRow } from "../sampler/plan.ts";
import type { SamplerState } from "../sampler/state.ts";
import { type BatchInit, stateShape } from "./batchInputs.ts";
import { type Guidance, scalesOf } from "./conditions.ts";
import type { StepChange } from "./types.ts";

const changeNames: OptionNames<StepChange> = {
  guidance: "a number or a list of numbers",
  state: "a tensor { shape, data: Float32Array }",
};

export class Changes {
  /** Guidance scales, where they are not those of the run. */
  scales: readonly number[] | undefined;

  constructor(
    private readonly init: BatchInit,
    private readonly state: SamplerState,
    private readonly guidance: Guidance | undefined,
  ) {
    if (init.resume?.guidance) this.#guide(init.resume.guidance);
  }

  #guide(scales: readonly number[]): void {
    this.scales = scales;
    this.state.guide(scales);
  }

  /** Whether the network is evaluated with and without the conditions, if the batch has room for both. */
  guides(row: PlanRow): boolean {
    if (!this.guidance) return true;
    return isGuided(row) && (this.scales ?? this.guidance.scales).some((w) => w !== 1);
  }

  /** @throws UsageError, ShapeError, NonFiniteError; nothing is changed then */
  make(to: StepChange): void {
    checkOptions("change", to, changeNames);
    const { run, images, first, judge } = this.init;
    if (to.guidance !== undefined && !this.guidance)
      throw new UsageError(
        "guidance",
        "guidance cannot be changed: these images began without, and nothing is there to lead away from",
      );
    if (to.state) {
      const shape = stateShape(this.init);
      if (to.state.shape.join() !== shape.join() || to.state.data.length !== shape.reduce((a, b) => a * b))
        throw new ShapeError("change", "state", `[${shape.join(", ")}]`, to.state.shape);
      judge(nonFiniteIn("state", to.state.data, images));
    }
    if (to.guidance !== undefined)
      this.#guide(scalesOf({ guidance: to.guidance, firstImage: run.firstImage + first }, images));
    if (to.state) this.state.write(to.state.data);
  }
}
