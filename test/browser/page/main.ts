// The page of the browser test: the package's core as a web bundler sees it, within reach of the test's functions.
import * as ddim from "../../../src/index.ts";

export type Ddim = typeof ddim;

Object.assign(globalThis, { ddim });
