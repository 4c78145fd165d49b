// One test file by vitest's runner alone; the last line of stdout is what became of its tests, as JSON.
// @ts-nocheck: it stands on insides of vitest that no types describe.
import process from "node:process";
import { pathToFileURL } from "node:url";
// As ../vitest.mjs has it.
import { startTests } from "vitest";

const [, , file = ""] = process.argv;
const { GPU_TEST_NAME } = process.env;
const found = [];
const message = (task) => (task.result?.errors?.[0]?.stack ?? task.result?.errors?.[0]?.message)?.slice(0, 900);

function collect(task, names) {
  const name = [...names, task.name];
  if (task.type === "test")
    found.push({ name: name.join(" > "), state: task.result?.state ?? task.mode, error: message(task) });
  // Of a hook, or of the file itself.
  else if (task.result?.errors?.length) found.push({ name: name.join(" > "), state: "fail", error: message(task) });
  for (const child of task.tasks ?? []) collect(child, task.filepath ? [] : name);
}

const files = await startTests([file], {
  config: {
    ...{ root: process.cwd(), name: "", setupFiles: [], passWithNoTests: true, allowOnly: true, retry: 0, tags: [] },
    ...{ concurrent: false, maxConcurrency: 1, testTimeout: 60_000, hookTimeout: 60_000, includeTaskLocation: false },
    ...{ strictTags: false, chaiConfig: {}, diffOptions: {}, snapshotOptions: {} },
    testNamePattern: GPU_TEST_NAME && new RegExp(GPU_TEST_NAME),
    sequence: { hooks: "stack", setupFiles: "list", shuffle: false, concurrent: false, seed: 1 },
  },
  importFile: (path) => import(pathToFileURL(path).href),
});
for (const task of files) collect(task, []);
process.stdout.write(`\n${JSON.stringify(found)}\n`, () => process.exit());
