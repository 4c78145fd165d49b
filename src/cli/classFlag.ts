/** `-c`: class ids or names, separated by commas. Names may hold commas themselves, as ImageNet's do. */
import { UsageError } from "../runtime/errors.ts";

/** How many classes an error lists. */
const LISTED = 12;

/**
 * @param text - the flag's value
 * @param labels - class names by id, or null where the model has none
 * @returns class ids; whether the model has them is the library's to say
 * @throws UsageError for a name that no class has.
 */
export function parseClasses(text: string, labels: readonly string[] | null): number[] {
  const whole = find(text, labels);
  if (whole !== undefined) return [whole];
  return text.split(",").map((part) => {
    const id = find(part, labels);
    if (id !== undefined) return id;
    throw new UsageError("class", `--class: there is no class ${JSON.stringify(part.trim())}; ${known(labels)}`);
  });
}

function find(text: string, labels: readonly string[] | null): number | undefined {
  const name = text.trim().toLowerCase();
  if (/^\d+$/.test(name)) return Number(name);
  const synonyms = (label: string) => label.split(",").map((part) => part.trim().toLowerCase());
  const exact = labels?.findIndex((label) => label.toLowerCase() === name) ?? -1;
  const id = exact >= 0 ? exact : (labels?.findIndex((label) => synonyms(label).includes(name)) ?? -1);
  return id >= 0 ? id : undefined;
}

function known(labels: readonly string[] | null): string {
  if (!labels?.length) return "the model's classes have no names, give their numbers";
  const shown = labels.slice(0, LISTED).map((label, id) => `${id} ${label}`);
  return `there is ${shown.join(", ")}${labels.length > LISTED ? `, … ${labels.length - 1}` : ""}`;
}
