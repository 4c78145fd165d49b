/** What a run's network attends to, and the added conditions: checked, image by image. */
import { UsageError } from "../runtime/errors.ts";
import { addedOf, contextLength, numbersOf } from "./forwardInputs.ts";
import type { Model } from "./model.ts";
import type { GenerateOptions, Tensor } from "./types.ts";

/** Those of every image, and of what guidance leads away from where that is known without classes. */
export interface Contexts {
  /** Tokens. */
  readonly length: number;
  /** [count, length, D]; null: every image's class is looked up. */
  readonly context: Float32Array | null;
  readonly freeContext: Float32Array | null;
  /** Added conditions, [count, width]; null where the network takes none. */
  readonly added: Float32Array | null;
  readonly freeAdded: Float32Array | null;
}

const OPTIONS = [
  ...["context", "negativeContext", "textEmbeds", "negativeTextEmbeds", "timeIds", "negativeTimeIds"],
] as readonly (keyof GenerateOptions)[];

/** Images that the contexts of some options are for; undefined where these do not say. */
export const contextCount = ({ context, textEmbeds }: GenerateOptions): number | undefined => {
  const count = Math.max(context?.shape[0] ?? 1, textEmbeds?.shape[0] ?? 1);
  return count > 1 ? count : undefined;
};

/** Tokens that a network attends to: a given context's, or the one of a class; undefined for those that have no context yet. */
export const tokensOf = ({ classEmbedder }: Model, context?: Tensor): number | undefined =>
  context?.shape[1] ?? (classEmbedder ? 1 : undefined);

/**
 * @param guided whether the network is evaluated without the conditions too
 * @returns null for networks that take neither context nor added conditions
 * @throws UsageError, ShapeError
 */
export function resolveContexts(
  model: Model,
  options: GenerateOptions,
  count: number,
  guided: boolean,
): Contexts | null {
  const { name, config, classEmbedder } = model;
  const { context_dim: width, added } = config;
  const { context, negativeContext, textEmbeds, timeIds } = options;
  if (width === null && added.kind === "none") {
    const given = OPTIONS.find((option) => options[option] !== undefined);
    if (given) throw new UsageError(given, `${name} attends to no context and takes no ${given}`);
    return null;
  }
  if (!guided) {
    const needless = OPTIONS.find((option) => option.startsWith("negative") && options[option] !== undefined);
    if (needless)
      throw new UsageError(needless, `${needless} means nothing while guidance is 1; choose a guidance scale`);
  }
  const freeAdded = () => {
    if (added.kind === "none" || !guided) return null;
    if (!options.negativeTextEmbeds)
      throw new UsageError("negativeTextEmbeds", `guidance of ${name} needs negative text_embeds`);
    const free = { textEmbeds: options.negativeTextEmbeds, timeIds: options.negativeTimeIds ?? timeIds };
    return addedOf({ model, inputs: free }, count) ?? null;
  };
  const more = {
    added: addedOf({ model, inputs: { textEmbeds, timeIds } }, count) ?? null,
    freeAdded: freeAdded(),
  };
  if (classEmbedder && !context) {
    if (negativeContext)
      throw new UsageError("negativeContext", "a negative context needs a context of as many tokens");
    return { length: 1, context: null, freeContext: null, ...more };
  }
  if (context && classEmbedder && options.classes)
    throw new UsageError(
      "classes",
      `the context of ${name} is given, so its classes are not looked up: give one of both`,
    );
  const length = contextLength(model, { context }) as number;
  const checked = (option: string, given: Tensor) => numbersOf(option, given, count, [length, width as number]);
  const own = checked("context", context as Tensor);
  if (!guided) return { length, context: own, freeContext: null, ...more };
  if (!negativeContext)
    throw new UsageError(
      "negativeContext",
      `guidance needs a negative context of ${length} tokens, such as an empty prompt's`,
    );
  return { length, context: own, freeContext: checked("negative context", negativeContext), ...more };
}
